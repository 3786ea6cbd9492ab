"""Documents as `edgenet bench --json` and `check --json` write them, made up."""

from __future__ import annotations

from typing import Any


def bench_document() -> dict[str, Any]:
    """Two bundles in two formats, in quiet."""
    return {
        "machine": {
            "cpu": "Some CPU <1>",
            "cores": 2,
            "os": "Linux",
            "python": "3.11.2",
            "numpy": "2.0.0",
            "engines": {"litert": "2.3.0", "onnxruntime": "1.31.1"},
            "isa": ["avx2", "avx512_vnni"],
        },
        "interference": {
            "other_load": 0.01,
            "steal": 0.0,
            "cpu_pressure": 0.0,
            "throttled": None,
            "clock_drift": 0.02,
            "warnings": [],
        },
        "results": [
            bench_result("a", "tflite", "fp32", 5.0),
            bench_result("b", "onnx", "int8", 2.0),
        ],
        "comparisons": [
            {
                "base": "a",
                "other": "b",
                "format": "tflite",
                "threads": 2,
                "ratio": 0.4,
                "interval": [0.39, 0.41],
                "differs": True,
            }
        ],
    }


def bench_result(bundle: str, format: str, precision: str, p50: float) -> dict[str, Any]:
    """One result; its times lie close around `p50`."""
    near = [p50 * 0.99, p50 * 1.01]
    return {
        "bundle": bundle,
        "name": bundle,
        "format": format,
        "precision": precision,
        "engine": "litert" if format == "tflite" else "onnxruntime",
        "device": "cpu",
        "device_used": "cpu",
        "delegate": "XNNPACK",
        "delegated_fraction": 1.0,
        "threads": 2,
        "batch": 1,
        "bytes": 5_000_000,
        "verified": {"images": 64, "agreement": 0.98, "sqnr_db": 24.0, "max_error": 0.1},
        "load_ms": 60.0,
        "import_ms": 20.0,
        "compile_ms": 30.0,
        "first_ms": 9.0,
        "rss_mb": 90.0,
        "steady_mb": 80.0,
        "min_ms": p50 * 0.98,
        "p50_ms": p50,
        "p90_ms": p50 * 1.1,
        "p95_ms": p50 * 1.2,
        "p99_ms": None,
        "mean_ms": p50,
        "throughput_per_s": 1e3 / p50,
        "runs": 100,
        "intervals": {
            "p50_ms": near,
            "p90_ms": near,
            "p95_ms": None,
            "p99_ms": None,
            "mean_ms": near,
        },
        "warmup": {"runs": 10, "ms": 50.0, "steady": True},
        "warmup_runs": 10,
        "rounds_p50_ms": [p50] * 20,
        "histogram": {"low_ms": p50 * 0.98, "high_ms": p50 * 1.3, "counts": [60, 30, 10]},
        "warnings": [],
    }
