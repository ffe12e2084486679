"""Benchmarks of obskit against the peers it replaces, in one interleaved run: ``python -m benchmarks``."""
