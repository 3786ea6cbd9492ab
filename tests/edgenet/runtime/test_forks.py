"""A session opened before a fork, in the child."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgenet.bundle import FORMATS
from edgenet.errors import DeviceError, EdgenetError
from edgenet.runtime.delegates import delegates
from tests.edgenet.runtime.test_session import Sums, images, plan_of

# The parent's answer, then how each child ended: one that runs, one that closes, one that does
# neither. A child that hangs is ended by its alarm.
SCRIPT = """
import os, signal, sys
import numpy as np
import edgenet

session = edgenet.load(sys.argv[1], format=sys.argv[2], threads=2)
pixels = np.random.default_rng(0).integers(0, 256, session.info.input_shape, np.uint8)
answer = session.run(pixels)

def runs():
    np.testing.assert_array_equal(session.run(pixels), answer)

for work in (runs, session.close, lambda: None):
    child = os.fork()
    if not child:
        signal.alarm(60)
        work()
        sys.exit()
    print(os.waitpid(child, 0)[1])
np.testing.assert_array_equal(session.run(pixels), answer)
"""


@pytest.mark.parametrize("format", FORMATS)
def test_a_child_opens_its_own_and_ends(tiny_bundle: Path, format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tiny_bundle), format],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0", "0"], done.stderr


def test_a_closed_session_stays_closed() -> None:
    session = Sums(plan_of(1))
    session.close()
    session._after_fork()
    with pytest.raises(EdgenetError, match="closed"):
        session.run(images(1))


def test_a_device_is_not_opened_again() -> None:
    plan = plan_of(1)
    gpu = delegates(plan.engine.name, "gpu")[0]
    session = Sums(replace(plan, device="gpu", delegate=gpu))
    session._after_fork()
    with pytest.raises(DeviceError, match=r"^the gpu's driver .* load the bundle in the child"):
        session.run(images(1))
    session.close()
