"""What `edgenet convert` prints: the bundle that it wrote, as a console table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenet.bundle import REGRESSION, Artifact, Bundle
from edgenet.report.cells import counted, drop, error, growth, number, percent
from edgenet.report.table import render


def text(bundle: Bundle, times: Mapping[str, float]) -> str:
    """The console's report: a row for each file, then what was compiled."""
    images = bundle.manifest.artifacts[0].verified.images
    title = (
        f"{bundle.path}: {bundle.manifest.precision}, each file verified against Keras on "
        f"{counted(images, 'image')}, timed on the CPU"
    )
    evaluation = bundle.manifest.evaluation
    rows = [_row(bundle, artifact, times) for artifact in bundle.manifest.artifacts]
    if evaluation is not None:
        title += f"\n{_evaluated(evaluation)}"
        rows = [row | _judged(evaluation, row["format"]) for row in rows]
    align = "<<" + ">" * (len(rows[0]) - 2)
    table = render(list(rows[0]), [list(row.values()) for row in rows], align)
    return f"{title}\n\n{table}{_compiled_table(bundle)}"


def _row(bundle: Bundle, artifact: Artifact, times: Mapping[str, float]) -> dict[str, str]:
    """A file's cells, by the titles of their columns."""
    verified, evaluation = artifact.verified, bundle.manifest.evaluation
    name, nearness = "agreement", number(verified.agreement, 4)
    if bundle.manifest.task == REGRESSION:
        name, nearness = "max error", error(verified.max_error)
    return {
        "format": artifact.format,
        "file": artifact.files[0].path,
        "MB": f"{artifact.bytes / 1e6:.2f}",
        "of fp32": f"{artifact.bytes / _float_bytes(bundle):.3f}",
        name if evaluation is None else f"{name} of {verified.images}": nearness,
        "SQNR dB": "equal" if verified.sqnr_db is None else f"{verified.sqnr_db:.1f}",
        "p50 ms": f"{times[artifact.format]:.2f}",
    }


def _evaluated(evaluation: Mapping[str, Any]) -> str:
    told = f"evaluated on {counted(evaluation['images'], 'image')}"
    top1, mae = evaluation["reference_top1"], evaluation["reference_mae"]
    if mae is not None:
        return f"{told}: fp32 has an MAE{_of_value(evaluation)} of {error(mae)}"
    return told if top1 is None else f"{told}: fp32 is right on {percent(top1)}"


def _judged(evaluation: Mapping[str, Any], format: str) -> dict[str, str]:
    """The cells of what was measured of a format on the images of --evaluate."""
    found = next(result for result in evaluation["results"] if result["format"] == format)
    images = evaluation["images"]
    if found["agreement"] is None:
        of_value = _of_value(evaluation)
        return {
            f"MAE{of_value}": error(found["mae"]),
            "growth (95 %)": growth(found["mae_growth"], found["mae_growth_interval"]),
            f"R² of {images}": number(found["r2"], 4),
            f"mean error{of_value} of {images}": error(found["mean_error"]),
        }
    return {
        "top-1": percent(found["top1"]),
        "drop (points, 95 %)": drop(found["drop_points"], found["drop_interval"]),
        f"agreement of {images}": number(found["agreement"], 4),
    }


def _of_value(evaluation: Mapping[str, Any]) -> str:
    """Of which value the errors are, where there are several."""
    value = evaluation.get("worst_value")
    return "" if value is None else f" of {value}"


def document(bundle: Bundle, times: Mapping[str, float]) -> dict[str, Any]:
    """The document of `convert --json`; `times` are medians of a call in ms, by format."""
    return {
        "bundle": str(bundle.path),
        "source": dict(bundle.manifest.source),
        "precision": bundle.manifest.precision,
        "reference_bytes": _float_bytes(bundle),
        "artifacts": [
            {
                "format": artifact.format,
                "precision": artifact.precision,
                "files": [str(bundle.path / record.path) for record in artifact.files],
                "bytes": artifact.bytes,
                "images": artifact.verified.images,
                "agreement": artifact.verified.agreement,
                "sqnr_db": artifact.verified.sqnr_db,
                "max_error": artifact.verified.max_error,
                "p50_ms": times[artifact.format],
            }
            for artifact in bundle.manifest.artifacts
        ],
        "compiled": [
            {
                "kind": compiled.kind,
                "device": compiled.device,
                "format": compiled.format,
                "compiler": compiled.compiler,
                "file": str(bundle.path / compiled.file.path),
                "bytes": compiled.file.bytes,
                **compiled.report,
            }
            for compiled in bundle.manifest.compiled
        ],
        "evaluation": bundle.manifest.evaluation,
    }


def _float_bytes(bundle: Bundle) -> int:
    found = bundle.manifest.float_model
    assert found is not None, "convert writes one"
    return found.bytes


def _compiled_table(bundle: Bundle) -> str:
    """What was compiled; empty where nothing was."""
    if not bundle.manifest.compiled:
        return ""
    headers = ["compiled for", "file", "MB", "on the NPU", "ms (estimated)", "SRAM KB", "compiler"]
    rows = [
        [
            compiled.device,
            compiled.file.path,
            f"{compiled.file.bytes / 1e6:.2f}",
            "{npu} of {all}".format(
                npu=compiled.report["operators"]["npu"],
                all=sum(compiled.report["operators"].values()),
            ),
            *_estimates(compiled.report.get("estimated_by_compiler")),
            compiled.compiler,
        ]
        for compiled in bundle.manifest.compiled
    ]
    return "\n\nno one measured what is compiled: times are the compiler's estimates\n\n" + render(
        headers, rows, "<<>>>><"
    )


def _estimates(estimated: Mapping[str, Any] | None) -> tuple[str, str]:
    if estimated is None:
        return "–", "–"
    return f"{estimated['latency_ms']:.2f}", f"{estimated['sram_bytes'] / 1e3:.0f}"
