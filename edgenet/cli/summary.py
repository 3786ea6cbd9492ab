"""`edgenet summary`: the stage table of a variant or of a Keras file, and its block diagram."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgenet.models.summary import ModelSummary, Shape, StageRow
    from edgenet.report.diagram import Box

HELP = "show a model stage by stage: operators, shapes, parameters, MACs"
EXAMPLES = """\
  edgenet summary b0
  edgenet summary lite0 --svg lite0.svg
  edgenet summary my.keras --json
"""

_HEADERS = [
    "stage",
    "operator",
    "kernel",
    "stride",
    "expansion",
    "SE width",
    "input",
    "output",
    "repeats",
    "parameters",
    "MACs (M)",
]
_ALIGN = "<<>>>>>>>>>"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "model", metavar="MODEL", help="a variant, a .keras or .h5 file or a SavedModel"
    )
    parser.add_argument(
        "--input-size",
        type=int,
        metavar="N",
        help="height and width in pixels (default: the model's)",
    )
    parser.add_argument("--svg", metavar="FILE", help="also draw the stages into an SVG file")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints the table, or the JSON document, and returns the exit code.

    Raises:
        UsageError: No such model or size, or the SVG file cannot be written.
        UnsupportedModelError: The file's model is not of the family.
    """
    summary = _summarize(args.model, args.input_size)
    if args.svg is not None:
        _write_svg(args.svg, summary)
    print(_json(summary) if args.json else _text(summary))
    return 0


def _summarize(model: str, input_size: int | None) -> ModelSummary:
    from edgenet.errors import UsageError
    from edgenet.models.specs import SMALLEST_INPUT, VARIANTS

    if input_size is not None and input_size < SMALLEST_INPUT:
        raise UsageError(
            f"an input of {input_size} px is too small: give --input-size {SMALLEST_INPUT} or more"
        )
    spec = VARIANTS.get(model.lower())
    if spec is not None:
        from edgenet.models.summary import summarize

        return summarize(spec, input_size=input_size)
    from edgenet.models.weights import load_file

    loaded = load_file(model)
    from edgenet.models.keras_summary import summarize_model

    return summarize_model(loaded, input_size=input_size)


def _json(summary: ModelSummary) -> str:
    from dataclasses import asdict

    from edgenet.report.document import dumps

    document = {
        "model": summary.name,
        "input_shape": summary.input_shape,
        "parameters": summary.parameters,
        "macs": summary.macs,
        "stages": [asdict(row) for row in summary.rows],
    }
    return dumps(document)


def _text(summary: ModelSummary) -> str:
    from edgenet.report.table import render

    table = render(_HEADERS, [_cells(row) for row in summary.rows], _ALIGN)
    return f"{table}\n\n{_totals(summary)}"


def _totals(summary: ModelSummary) -> str:
    return f"{summary.name}: {summary.parameters:,} parameters, {summary.macs / 1e9:.3f} G MACs"


def _cells(row: StageRow) -> list[str]:
    return [
        row.stage,
        row.operator,
        f"{row.kernel}×{row.kernel}" if row.kernel else "",
        str(row.stride or ""),
        str(row.expansion or ""),
        ", ".join(map(str, row.se_widths)),
        _shape(row.input_shape),
        _shape(row.output_shape),
        str(row.repeats),
        f"{row.parameters:,}",
        f"{row.macs / 1e6:.1f}",
    ]


def _shape(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _write_svg(path: str, summary: ModelSummary) -> None:
    from edgenet.report.diagram import draw
    from edgenet.report.files import write_text

    boxes = [_box(row, summary.macs) for row in summary.rows]
    write_text(path, draw(_totals(summary), boxes), "--svg")


def _box(row: StageRow, macs: int) -> Box:
    from edgenet.report.diagram import Box

    mobile = row.stage.isdigit()
    size = f" {row.kernel}×{row.kernel}" if row.kernel else ""
    details = [
        f"stage {row.stage}" if mobile else row.stage,
        f"stride {row.stride}" if row.stride else "",
        f"SE {', '.join(map(str, row.se_widths))}" if row.se_widths else "",
        f"{row.parameters:,} parameters",
    ]
    return Box(
        title=f"{row.operator}{size}{f' · {row.repeats} blocks' if row.repeats > 1 else ''}",
        detail=" · ".join(detail for detail in details if detail),
        shape=_shape(row.output_shape),
        kind="block" if mobile else "conv" if row.kernel else "other",
        share=row.macs / macs,
    )
