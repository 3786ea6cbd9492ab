"""What `edgenet check` found, as JSON and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgenet.report.cells import number, percent
from edgenet.report.devices import split_times, where
from edgenet.report.table import render

if TYPE_CHECKING:
    from edgenet.measure.parity import Fidelity, Parity, Result

_BESIDE = "SQNR dB beside cpu"
_EMULATED = "p50 ms (emulated)"


def document(bundle: str, parity: Parity) -> dict[str, Any]:
    """The report as JSON takes it; times of a software driver or emulator stand apart."""
    return {
        "bundle": bundle,
        "reference": {"precision": parity.reference.precision, "top1": parity.reference_top1},
        "images": parity.images,
        "results": [_entry(result) for result in parity.results],
        "cross_agreement": [
            {"formats": list(pair.formats), "agreement": pair.agreement}
            for pair in parity.cross_agreement
        ],
        "passed": parity.passed,
    }


def _entry(result: Result) -> dict[str, Any]:
    info, fidelity = result.info, result.fidelity
    drop = fidelity.drop
    return {
        "format": info.format,
        "precision": info.precision,
        "device": info.device,
        "device_used": info.device_used,
        "kind": info.kind,
        "device_name": info.device_name,
        "delegated_fraction": info.delegated_fraction,
        "time_elsewhere": info.time_elsewhere,
        "top1": fidelity.top1,
        "drop_points": fidelity.drop_points,
        "drop_interval": list(drop.interval) if drop else None,
        "mcnemar_p": drop.mcnemar_p if drop else None,
        "agreement": fidelity.agreement,
        "sqnr_db": fidelity.sqnr_db,
        "max_error": fidelity.max_error,
        "cosine": fidelity.cosine,
        "kl": fidelity.kl,
        **split_times(info.kind, {"p50_ms": result.p50_ms}),
        "beside_cpu": _beside(result),
        "passed": result.passed,
        "failures": list(result.failures),
    }


def _beside(result: Result) -> dict[str, Any] | None:
    beside = result.beside_cpu
    if beside is None:
        return None
    return {
        "agreement": beside.agreement,
        "sqnr_db": beside.sqnr_db,
        "max_error": beside.max_error,
    }


def table(parity: Parity, source: str) -> str:
    """The report for people; a column that would be empty throughout is left out."""
    columns = {
        "format": "<",
        "precision": "<",
        "ran on": "<",
        "top-1": ">",
        "drop (points, 95 %)": ">",
        "agreement": ">",
        "SQNR dB": ">",
        "max error": ">",
        _BESIDE: ">",
        "p50 ms": ">",
        _EMULATED: ">",
        "passed": "<",
    }
    reference = dict.fromkeys(columns, "–") | {
        "format": "reference",
        "precision": parity.reference.precision,
        "ran on": parity.reference.device_used,
        "top-1": percent(parity.reference_top1),
        "passed": "",
    }
    rows = [reference, *(_row(result) for result in parity.results)]
    shown = [
        name
        for name in columns
        if name not in (_BESIDE, _EMULATED) or any(row[name] != "–" for row in rows)
    ]
    cells = [[row[name] for name in shown] for row in rows]
    grid = render(shown, cells, "".join(columns[name] for name in shown))
    pairs = ", ".join(
        f"{' and '.join(pair.formats)} {number(pair.agreement, 4)}"
        for pair in parity.cross_agreement
    )
    closing = f"\nagreement between formats: {pairs}" if pairs else ""
    return f"{parity.images} images of {source}\n{grid}{closing}"


def _row(result: Result) -> dict[str, str]:
    info, fidelity = result.info, result.fidelity
    times = split_times(info.kind, {"p50_ms": result.p50_ms})
    beside = result.beside_cpu
    return {
        "format": info.format,
        "precision": info.precision,
        "ran on": where(info),
        "top-1": percent(fidelity.top1),
        "drop (points, 95 %)": _drop_cell(result),
        "agreement": number(fidelity.agreement, 4),
        "SQNR dB": _decibels(fidelity),
        "max error": f"{fidelity.max_error:.2g}",
        _BESIDE: _decibels(beside) if beside else "–",
        "p50 ms": number(times["p50_ms"]),
        _EMULATED: number((times["emulated"] or {}).get("p50_ms")),
        "passed": "yes" if result.passed else "no",
    }


def _decibels(fidelity: Fidelity) -> str:
    return "∞" if fidelity.sqnr_db is None else number(fidelity.sqnr_db, 1)


def _drop_cell(result: Result) -> str:
    drop = result.fidelity.drop
    if drop is None:
        return "–"
    low, high = drop.interval
    return f"{drop.points:.2f} ({low:.2f}..{high:.2f})"
