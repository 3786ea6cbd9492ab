"""How a saved model that cannot be read is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenet.errors import UsageError
from edgenet.models.wholemodel import load_file


def refusal(path: Path) -> str:
    """What is said of a file or folder: one line, which begins with its path."""
    with pytest.raises(UsageError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)
