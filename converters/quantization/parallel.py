"""Items through a function, a thread a core: engines and numpy compute outside Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from edgenet.runtime.processors import processors

# Each image under way may hold all its tensors: 2.5 GB of them for B7.
_MOST_WORKERS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], most: int = _MOST_WORKERS
) -> Iterator[Result]:
    """What the function makes of each item, in order; at most so many are under way at a time.

    Meanwhile numpy's products keep to the thread that asks for them: the threads of BLAS would take
    the cores from these and wait for each other, spinning.
    """
    workers = min(len(processors()), _MOST_WORKERS, most)
    pending: deque[Future[Result]] = deque()
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@cache
def _blas() -> ThreadpoolController:
    """What holds BLAS to a number of threads; to find all libraries of a process takes 4 ms."""
    return ThreadpoolController()
