"""The commands of `commutant`, one a file. Each has `add(subparsers)` and `run(arguments) -> exit code`."""
