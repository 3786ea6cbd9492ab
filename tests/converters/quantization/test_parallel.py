"""Results come in the order of the items, few at a time, whichever thread is done first."""

from __future__ import annotations

import threading
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from converters.quantization import parallel
from converters.quantization.parallel import in_order


@given(items=st.lists(st.integers(), max_size=30))
def test_results_are_those_of_map(items):
    assert list(in_order(lambda item: item * 2, items)) == [item * 2 for item in items]


def test_the_order_stays_where_the_first_is_the_last_to_be_done(monkeypatch):
    monkeypatch.setattr(parallel, "processors", lambda: range(2))
    second_done = threading.Event()

    def wait_for_the_second(item: int) -> int:
        if item == 0:
            assert second_done.wait(30)
        else:
            second_done.set()
        return item

    assert list(in_order(wait_for_the_second, range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_few_are_under_way_at_a_time(monkeypatch, cores):
    monkeypatch.setattr(parallel, "processors", lambda: range(cores))
    read = 0

    def items():
        nonlocal read
        for item in range(40):
            read += 1
            yield item

    for done, _ in enumerate(in_order(lambda item: item, items())):
        assert read - done <= min(cores or 1, 4) + 1


def test_an_endless_stream_is_read_as_far_as_it_is_wanted():
    assert list(islice(in_order(lambda item: -item, count()), 4)) == [0, -1, -2, -3]


def test_what_the_function_raises_comes_after_the_results_before_it():
    results = in_order(lambda item: 6 // item, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_the_items_raise_is_passed_on():
    def damaged():
        yield 1
        raise OSError("cut short")

    with pytest.raises(OSError, match="cut short"):
        list(in_order(lambda item: item, damaged()))


def blas_threads() -> set[int]:
    """Of numpy's BLAS: scipy's may be loaded after that was found."""
    return {
        pool["num_threads"]
        for pool in threadpool_info()
        if pool["user_api"] == "blas" and "numpy" in pool["filepath"]
    }


def test_products_keep_to_their_thread_meanwhile():
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        for meanwhile in in_order(lambda _: blas_threads(), range(4)):
            assert meanwhile == {1}
        assert blas_threads() == {2}
