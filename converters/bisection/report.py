"""What `edgenet bisect` prints of its findings, as a console table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from converters.bisection.bisect import Findings, Row
from edgenet.measure.machine import adds_in_16_bits, describe
from edgenet.report.table import render

_WORST = 5
# An exporter's names can be longer than a terminal is wide; their ends differ.
_WIDTH = 40


def document(bundle: str, format: str, findings: Findings) -> dict[str, Any]:
    """What `--json` prints; see `edgenet/report/schema/bisect.schema.json`.

    Args:
        bundle: The folder or file that was asked for.
        format: Of the int8 file.
        findings: What was found of it.
    """
    restored, worst = findings.restored, findings.worst[:_WORST]
    return {
        "bundle": bundle,
        "format": format,
        "images": findings.images,
        **_shares(findings, findings.score.agreement),
        "sqnr_db": _finite(findings.score.sqnr_db),
        "operators": [_entry(row, row in worst) for row in findings.rows],
        "goal": {
            **_shares(findings, findings.goal.agreement),
            "sqnr_db": findings.goal.sqnr_db,
        },
        "restore": {
            "operators": list(findings.layers),
            **_shares(findings, restored.score.agreement),
            "sqnr_db": _finite(restored.score.sqnr_db),
            "float_macs_share": findings.float_macs_share,
            "reached": restored.reached,
        },
    }


def _shares(findings: Findings, share: float) -> dict[str, float | None]:
    """An agreement, or in its place a regression's R²."""
    regresses = findings.regresses
    return {"agreement": None if regresses else share, "r2": share if regresses else None}


def _entry(row: Row, worst: bool) -> dict[str, Any]:
    return {
        "layer": row.step.layer,
        "operator": row.step.name,
        "tensor": row.step.tensor,
        "kind": row.step.kind,
        "macs": row.step.macs,
        "compared": row.sqnr_db is not None,
        "sqnr_db": _finite(row.sqnr_db),
        "own_sqnr_db": _finite(row.own_sqnr_db),
        "worst": worst,
        "returned": row.returned,
        "overflows": row.overflows,
    }


def _finite(ratio: float | None) -> float | None:
    """JSON has no infinity: None where the two are equal to the bit, as in `check`."""
    return None if ratio is None or math.isinf(ratio) else ratio


def text(findings: Findings, source: str, command: str | None) -> str:
    """The console's report: a row for each operator, the worst once more, and what to do.

    Args:
        findings: What was found of an int8 file.
        source: What the images were.
        command: What converts the model with the layers found in float, if anything does.
    """
    headers = ["layer", "operator", "tensor", "SQNR dB", "own SQNR dB", ""]
    worst = findings.worst[:_WORST]
    rows = [
        [
            _shortened(row.step.layer),
            row.step.kind,
            _shortened(row.step.tensor),
            _decibels(row.sqnr_db),
            _decibels(row.own_sqnr_db),
            _remark(row, row in worst),
        ]
        for row in findings.rows
    ]
    score = findings.score
    opening = (
        f"{findings.images} images of {source}: {_share(findings)} {score.agreement:.4f}, "
        f"SQNR {_decibels(score.sqnr_db)} dB"
    )
    table = render(headers, rows, "<<<>><")
    way = ["with all other options as they were, this does so:", f"  {command}"] if command else []
    said = [_advice(findings), *way, *_overflow(findings)]
    return "\n".join([opening, table, "", *_shortlist(worst), *said])


def _share(findings: Findings) -> str:
    return "R²" if findings.regresses else "agreement"


def _shortened(name: str) -> str:
    return name if len(name) <= _WIDTH else f"…{name[1 - _WIDTH :]}"


def _shortlist(worst: Sequence[Row]) -> list[str]:
    """The end of a long table, for those who read no more of it."""
    rows = [
        [_shortened(row.step.layer), row.step.kind, _decibels(row.own_sqnr_db)] for row in worst
    ]
    headers = ["layer", "operator", "own SQNR dB"]
    return ["what loses most by itself:", render(headers, rows, "<<>"), ""]


def _remark(row: Row, worst: bool) -> str:
    told = [("worst", worst), ("to float", row.returned), ("overflows", row.overflows)]
    return ", ".join(word for word, holds in told if holds)


def _decibels(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    return "∞" if math.isinf(ratio) else f"{ratio:.1f}"


def _advice(findings: Findings) -> str:
    restored = findings.restored
    goal = restored.goal
    asked = f"{_share(findings)} {goal.agreement:.4g} and {goal.sqnr_db:.3g} dB"
    if not restored.steps:
        return f"nothing needs float for {asked}"
    score, share = restored.score, 100 * findings.float_macs_share
    return (
        f"for {asked} return to float {len(findings.layers)} layers ({share:.1f} % of MACs), which "
        f"gives {score.agreement:.4f} and {_decibels(score.sqnr_db)} dB:\n  "
        + "\n  ".join(_islands(findings.rows))
    )


def _overflow(findings: Findings) -> list[str]:
    """What wide weights do on some processors."""
    count = sum(row.overflows for row in findings.rows)
    if not count:
        return []
    isa = describe()["isa"]
    here = ", as this one does" if adds_in_16_bits(isa) else ", unlike this one" if isa else ""
    return [
        f"in {count} operators neighbouring weights are so large that two products overflow 16 "
        f"bits: an x86 CPU without VNNI cuts them off{here}. edgenet convert makes no such "
        "weights; ONNX Runtime's quantize_static makes none with reduce_range=True, nor does NNCF "
        "with OverflowFix.ENABLE"
    ]


def _islands(rows: tuple[Row, ...]) -> list[str]:
    """Runs of what returns to float, each by its first and last layer."""
    movable = [row for row in rows if row.own_sqnr_db is not None]
    islands: list[str] = []
    for returned, group in groupby(movable, key=lambda row: row.returned):
        if returned:
            layers = [row.step.layer for row in group]
            islands.append(" … ".join(dict.fromkeys((layers[0], layers[-1]))))
    return islands
