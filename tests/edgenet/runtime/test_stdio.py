from __future__ import annotations

import os

import pytest

from edgenet.runtime.stdio import captured


def test_what_native_code_prints_is_kept_and_goes_nowhere(
    capfd: pytest.CaptureFixture[str],
) -> None:
    os.write(1, b"before ")
    with captured() as log:
        os.write(1, b"to stdout ")
        os.write(2, b"to stderr")
        assert "to stdout" in log()
    os.write(2, b"after")
    assert log() == "to stdout to stderr"
    assert capfd.readouterr() == ("before ", "after")


def test_the_streams_are_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), captured():
        raise ValueError("wrong")
    os.write(1, b"here")
    assert capfd.readouterr().out == "here"
