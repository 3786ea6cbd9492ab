"""`python -m edgenet`: the same as the `edgenet` command."""

from __future__ import annotations

import sys

from edgenet.cli.main import process

if __name__ == "__main__":
    sys.exit(process())
