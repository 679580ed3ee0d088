"""Benchmarks: a module a figure, run as `python -m bench.NAME` from the repository."""
