"""Each claim of the README, measured beside its peer in one run: `python -m benchmarks.NAME`."""
