"""How long `bench` measures each file unless it is told; nothing is imported for `--help`."""

RUNS = 100
"""The fewest timed runs."""

MIN_TIME = 2.0
"""The shortest time, in seconds."""
