"""What `bench` and `check` do unless they are told; nothing is imported for `--help`."""

RUNS = 100
"""The fewest timed runs of each file."""

MIN_TIME = 2.0
"""The shortest time spent on each file, in seconds."""

CROPS = 256
"""How many crops of photographs `check` compares on, where no images are named."""
