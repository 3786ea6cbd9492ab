"""Documents as `edgenet bench --json` and `check --json` write them, made up."""

from __future__ import annotations

from typing import Any

import numpy as np


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
            "held_back": None,
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
                "batch": 1,
                "ratio": 0.4,
                "interval": [0.39, 0.41],
                "differs": True,
            }
        ],
        "batches": [],
        "bundles": {"a": recipe("fp32"), "b": recipe("int8")},
    }


def sweep() -> list[dict[str, Any]]:
    """Two batches of one file: eight images take six times as long as one."""
    keys = ("batch", "ms_per_batch", "ms_per_image", "images_per_s", "speedup", "interval")
    rows = [(1, 5.0, 5.0, 200.0, 1.0, [1.0, 1.0]), (8, 30.0, 3.75, 266.0, 1.33, [1.31, 1.35])]
    file = {"bundle": "a", "format": "tflite", "threads": 2}
    return [{**file, **dict(zip(keys, row, strict=True))} for row in rows]


def emulated(result: dict[str, Any]) -> dict[str, Any]:
    """The result as it is where a software driver computed."""
    from edgenet.measure.speeds import split_times

    kept = (
        *("bundle", "name", "format", "precision", "engine", "device", "device_used", "delegate"),
        *(
            "kind",
            "device_name",
            "delegated_fraction",
            "time_elsewhere",
            "threads",
            "batch",
            "bytes",
            "verified",
        ),
        *("rss_mb", "steady_mb", "runs", "warmup", "warmup_runs", "warnings", "emulated"),
    )
    times = {key: value for key, value in result.items() if key not in kept}
    return {**result, "kind": "software", **split_times("software", times)}


def recipe(precision: str) -> dict[str, Any]:
    """How a bundle was made."""
    return {
        "source": {"variant": "lite0"},
        "precision": precision,
        "input_shape": [1, 224, 224, 3],
        "input_dtype": "uint8",
        "preprocessing": "in the model, which takes RGB 0..255",
        "calibration": {"images": 128, "source": "folder"} if precision == "int8" else None,
        "recipe": {"ranges": 50, "rewrites": {}} if precision == "int8" else None,
        "versions": {"edgenet": "0.1.0"},
    }


def profile() -> dict[str, Any]:
    """A convolution and an activation."""
    names = ("layer", "kernel", "ms", "macs", "integer", "moves", "share", "gmacs_per_s")
    rows = [
        ("stem_conv", "QLinearConv", 1.5, 3_000_000, True, False, 0.75, 2.0),
        ("stem_activation", "Sigmoid", 0.5, 0, False, False, 0.25, None),
    ]
    return {
        "source": "a profiler",
        "threads": 2,
        "runs": 50,
        "total_ms": 2.0,
        "macs": 3_000_000,
        "operators": [dict(zip(names, row, strict=True)) for row in rows],
        "gmacs_per_s": 1.5,
        "peak_gmacs_per_s": 100.0,
        "findings": ["operators left in float take 25% of the time"],
    }


def end_to_end() -> dict[str, Any]:
    """The way from a file to its label."""
    parts = {f"{part}_ms": 1.0 for part in ("decode", "resize", "run", "rank", "all")}
    return {"image": "cat.jpg", "bytes": 30_000, "top": "cat", **parts, "runs": 50}


IMAGES = 100


def check_document() -> dict[str, Any]:
    """One file that changed two answers, a right and a wrong one, and one that changed none."""
    answers = [index % 10 for index in range(IMAGES)]
    tflite, onnx = (check_result(format, list(answers)) for format in ("tflite", "onnx"))
    answer(tflite, 0, 1)
    answer(tflite, 99, 1)
    document = {
        "bundle": "b",
        "task": "classification",
        "reference": {
            "format": "tflite",
            "precision": "fp32",
            "device_used": "cpu",
            "engine": "litert",
            "bytes": 20_000_000,
            "top1": 0.75,
            "top5": 0.9,
            "mae": None,
            "p50_ms": 6.0,
            "answers": answers,
            "signal": [100.0] * IMAGES,
        },
        "images": IMAGES,
        "images_source": "photos",
        "images_sha256": "0" * 64,
        "labels": [(index + (index >= 75)) % 10 for index in range(IMAGES)],
        "worst_value": None,
        "results": [tflite, onnx],
        "cross_agreement": [{"formats": ["tflite", "onnx"], "agreement": 0.97, "cosine": 0.99}],
        "passed": True,
        "doubt": None,
        "baseline": None,
        "regressions": [],
        "recipe": {"name": "b", **recipe("int8")},
        "machine": bench_document()["machine"],
    }
    return counted(document)


def regression_document() -> dict[str, Any]:
    """Two files of a regression: of each image they tell one value, 40 of the first."""
    document = check_document()
    document.update(task="regression", labels=None, cross_agreement=[])
    document["reference"].update(top1=None, top5=None, answers=None, mae=4.25)
    of_classes = ("top1", "top5", "drop_points", "drop_interval", "mcnemar_p", "agreement")
    for result in document["results"]:
        result.update(dict.fromkeys((*of_classes, "cosine", "kl", "answers")))
        result.update(r2=0.97, mean_error=1.5)
        result.update(mae=4.5, mae_growth=0.25, mae_growth_interval=[-0.125, 0.625])
        result["damage"].update(changed=0, classes=[])
        for image in result["damage"]["worst"]:
            image.update(kl=None, label=None)
            for key, value in (("reference", 40.0), ("ours", 44.25)):
                image[key].update(index=None, probability=None, values=[value], name=f"{value:.4g}")
    return document


def answer(result: dict[str, Any], image: int, index: int, noise: float = 1.0) -> None:
    """Changes what a result answers to an image."""
    result["answers"][image], result["noise"][image] = index, noise


def counted(document: dict[str, Any]) -> dict[str, Any]:
    """The document with shares and SQNR as its images tell them."""
    truth = np.asarray(document["reference"]["answers"])
    for result in document["results"]:
        answers = np.asarray(result["answers"])
        result["agreement"] = float(np.mean(answers == truth))
        noise = sum(result["noise"])
        signal = sum(document["reference"]["signal"])
        result["sqnr_db"] = 10 * float(np.log10(signal / noise)) if noise else None
        if document["labels"] is not None:
            result["top1"] = float(np.mean(answers == np.asarray(document["labels"])))
    return document


def check_result(format: str, classes: list[int]) -> dict[str, Any]:
    """One file's result."""
    answers = [
        {"index": i, "probability": 0.5, "values": None, "name": name}
        for i, name in enumerate(("a", "b"))
    ]
    return {
        "format": format,
        "precision": "int8",
        "device": "cpu",
        "device_used": "cpu",
        "engine": "litert",
        "kind": "hardware",
        "device_name": None,
        "ran_on": "cpu (litert)",
        "delegated_fraction": 1.0,
        "time_elsewhere": None,
        "emulated": None,
        "beside_cpu": None,
        "bytes": 5_000_000,
        "top1": 0.74,
        "top5": 0.9,
        "drop_points": 1.0,
        "drop_interval": [-0.5, 2.5],
        "mcnemar_p": 0.5,
        "agreement": 1.0,
        "sqnr_db": 20.0,
        "max_error": 0.5,
        "cosine": 0.99,
        "kl": 0.01,
        "r2": None,
        "mean_error": None,
        "mae": None,
        "mae_growth": None,
        "mae_growth_interval": None,
        "p50_ms": 3.0,
        "passed": True,
        "failures": [],
        "damage": {
            "changed": 2,
            "worst": [
                {
                    "image": "one.jpg",
                    "number": 7,
                    "kl": 0.3,
                    "label": "a",
                    "reference": answers[0],
                    "ours": answers[1],
                }
            ],
            "classes": [{"index": 0, "images": 3, "lost": 1, "gained": 0, "name": "a"}],
        },
        "answers": classes,
        "noise": [1.0] * IMAGES,
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
        "kind": "hardware",
        "device_name": "Some CPU",
        "emulated": None,
        "delegate": "XNNPACK",
        "delegated_fraction": 1.0,
        "time_elsewhere": None,
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


def unlabelled(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a check without labels."""
    document["labels"] = None
    for result in document["results"]:
        result["top1"] = None
    return document


def of_old(document: dict[str, Any]) -> dict[str, Any]:
    """As it was written before images were told one by one."""
    for key in ("answers", "signal"):
        del document["reference"][key]
    for result in document["results"]:
        del result["answers"], result["noise"]
    del document["labels"], document["baseline"]
    return document
