"""Reproducible tables and pictures. Run from the repository root, for instance `python -m benchmarks.consistency`."""
