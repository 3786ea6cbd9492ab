"""`edgenet devices`: what can run here, and what the rest lacks."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgenet.runtime.devices import DeviceRow

HELP = "list what can run here, and why the rest cannot"
EXAMPLES = """\
  edgenet devices
  edgenet devices --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Probes the engines and prints a table or a JSON document."""
    from edgenet.report.document import dumps
    from edgenet.runtime.devices import probe

    rows = probe()
    if args.json:
        print(dumps({"devices": [asdict(row) for row in rows]}))
    else:
        print(_table(rows))
    return 0


def _table(rows: list[DeviceRow]) -> str:
    from edgenet.report.table import render

    headers = ["engine", "version", "device", "delegate", "kind", "usable", "name"]
    cells = [
        [
            row.engine,
            row.version or "–",
            row.device,
            row.delegate,
            row.kind if row.usable else "–",
            "yes" if row.usable else "no",
            row.name if row.usable else "–",
        ]
        for row in rows
    ]
    lacking = [
        f"{row.engine} {row.device} ({row.delegate}): {row.reason}; {row.fix}"
        for row in rows
        if not row.usable
    ]
    return "\n".join([render(headers, cells, "<" * len(headers)), *lacking])
