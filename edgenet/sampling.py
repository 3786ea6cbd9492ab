"""Which places of an ordered set stand for all of it."""

from __future__ import annotations

from itertools import pairwise
from random import Random


def stratified(total: int, count: int) -> list[int]:
    """Some of `total` places, in order: one at random of each of `count` stretches of equal length.

    They cover the order as evenly spaced places do, but without a period of their own: of photos
    named a_front, a_side, a_top, b_front, ... every third shows one side alone. The same at every
    call, in every version of Python.

    Args:
        total: How many places there are, numbered from 0.
        count: How many to take; all, if there are no more.
    """
    if count >= total:
        return list(range(total))
    # Of its methods `random` alone is sure to stay as it is.
    random = Random(f"{count} of {total}")
    bounds = [*(stretch * total // count for stretch in range(count)), total]
    return [start + int(random.random() * (end - start)) for start, end in pairwise(bounds)]
