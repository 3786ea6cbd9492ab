"""`edgenet models`: the family, what each variant costs, and which weights are here."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "list the variants: input size, parameters, MACs, weights at hand"
EXAMPLES = """\
  edgenet models
  edgenet models --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints the table, or the JSON document, and returns the exit code."""
    rows = _rows()
    if args.json:
        from edgenet.report.document import dumps

        print(dumps({"models": rows}))
        return 0
    from edgenet.report.table import render

    headers = ["variant", "input", "parameters", "MACs", "crop fraction", "weights at hand"]
    print(render(headers, [_cells(row) for row in rows], "<>>>><"))
    return 0


def _rows() -> list[dict[str, Any]]:
    from edgenet.models.pretrained import weights_at_hand
    from edgenet.models.specs import VARIANTS
    from edgenet.models.summary import summarize

    summaries = {name: summarize(spec) for name, spec in VARIANTS.items()}
    return [
        {
            "variant": name,
            "input_size": spec.resolution,
            "parameters": summaries[name].parameters,
            "macs": summaries[name].macs,
            "crop_fraction": round(spec.crop_fraction, 4),
            "interpolation": spec.interpolation,
            "weights": weights_at_hand(name),
        }
        for name, spec in VARIANTS.items()
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['variant']}",
        f"{row['input_size']}×{row['input_size']}",
        f"{row['parameters']:,}",
        f"{row['macs'] / 1e9:.3f} G",
        f"{row['crop_fraction']:.3f}",
        f"{row['weights'] or '-'}",
    ]
