"""What spoils a measurement is read from the kernel and told in words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgenet.measure.interference import Counters, Watch, between, read, spread_warnings, yardstick

BEFORE = Counters(wall=5.0, own=7.0, busy=60.0, steal=2.0, stalled=9.0, throttled=8, held_back=6)
AFTER = replace(BEFORE, wall=15.0, own=27.0, busy=80.0)


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_kernels_counters_are_read(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/stat": "cpu  999 0 0 9 9 0 0 999 0 0\n"
            "cpu0 200 100 50 4000 77 10 0 20 0 0\n"
            "cpu1 100 0 0 5000 0 0 40 5 0 0\n"
            "cpu2 699 0 0 0 0 0 0 974 0 0\n",
            "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 1\nnr_throttled 5\n",
        },
    )
    found = read({0, 1}, root)
    tick = os.sysconf("SC_CLK_TCK")
    assert (found.busy, found.steal) == (500 / tick, 25 / tick)
    assert (found.stalled, found.throttled, found.held_back) == (2.5, 7, 5)


def test_a_system_that_counts_nothing_leaves_unknowns(tmp_path):
    found = read({0, 1}, tmp_path)
    assert found.busy is found.steal is found.stalled is None
    assert found.throttled is found.held_back is None
    unknown = between(found, read({0, 1}, tmp_path), processors=2)
    assert unknown.other_load is unknown.steal is unknown.cpu_pressure is None
    assert unknown.warnings() == ()


def test_our_own_load_spoils_nothing():
    assert between(BEFORE, AFTER, processors=2, ticks=[100, 101, 102]).warnings() == ()


@pytest.mark.parametrize(
    ("after", "ticks", "message"),
    [
        (replace(AFTER, own=17.0), [], "other processes took 50% of the processors"),
        (replace(AFTER, steal=3.0), [], "withheld 5%"),
        (replace(AFTER, stalled=14.0), [], "waited for a processor 50% of the time"),
        (replace(AFTER, throttled=10), [], "the processor was throttled 2 times"),
        (replace(AFTER, held_back=9), [], "the quota held this process back 3 times"),
        (AFTER, [100, 100, 150], "up to 50% slower"),
    ],
)
def test_each_spoiler_is_named(after, ticks, message):
    (warning,) = between(BEFORE, after, processors=2, ticks=ticks).warnings()
    assert message in warning


def test_what_the_kernel_adds_late_is_no_more_than_all():
    late = replace(AFTER, busy=101.0, steal=22.5, stalled=19.6)
    found = between(BEFORE, late, processors=2)
    assert (found.other_load, found.steal, found.cpu_pressure) == (1.0, 1.0, 1.0)


def test_a_watch_sees_this_machine():
    watch = Watch({0})
    watch.tick()
    found = watch.stop()
    assert found.clock_drift >= 0


def test_the_yardstick_is_the_quickest_of_three(monkeypatch):
    clock = iter([0, 500, 1000, 1300, 2000, 2900])
    monkeypatch.setattr("edgenet.measure.interference.perf_counter_ns", lambda: next(clock))
    assert yardstick() == 300


def test_a_median_known_badly_is_told():
    assert spread_warnings(4.9, 5.1, 5.0) == []
    assert spread_warnings(4.0, 6.0, 5.0) == ["the p50 is known to ±20% only"]
