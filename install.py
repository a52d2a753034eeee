"""What A1111, Forge and ComfyUI-Manager run at installation: the light dependencies that are missing, nothing else.

It imports nothing of theirs: only the first two have a `launch` module. Nothing is upgraded, and torch is never
touched: the program has pinned what it needs.
"""

import importlib.util
import subprocess
import sys

NEEDED = {"array_api_compat": "array-api-compat>=1.9", "safetensors": "safetensors>=0.4.2"}


def missing():
    """Requirements whose module cannot be found."""
    return [requirement for module, requirement in NEEDED.items() if importlib.util.find_spec(module) is None]


def main():
    """Install them into the interpreter that runs this, without their dependencies: they have none but numpy."""
    wanted = missing()
    if wanted:
        subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps", *wanted], check=True)


if __name__ == "__main__":
    main()
