"""Makes our int8 files and the peers', from one Keras model and the same images.

It runs in a process of its own, which `made_by_child` starts, so that TensorFlow's threads are gone
when `benchmarks.peers` starts its clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._common import end
from benchmarks._peer_model import Affine, Body, Floats, take_apart
from converters.pipeline import convert
from converters.quantization.quantize import DEFAULT_EFFORT, EFFORTS
from converters.sources import load_source
from edgenet.bundle import MANIFEST, Bundle
from edgenet.errors import EdgenetError, MissingExtraError, UsageError
from edgenet.images import ImageFolder

OURS = "ours"

_BODY = "body"
_RECORD = "made.json"
_OPSET = "17"


@dataclass(frozen=True)
class Order:
    """What all files are made from, and the folder that they go into.

    `stripped` gives the peers the model without its preprocessing layers; `max_drop` is for ours.
    """

    model: str
    weights: str | None
    calibration: str
    work: Path
    stripped: bool
    max_drop: float | None = None
    interpolation: str | None = None

    @property
    def ours(self) -> Path:
        """The folder of our bundle."""
        return self.work / (OURS if self.max_drop is None else f"{OURS}-{self.max_drop:g}")

    @property
    def sources(self) -> list[str | None]:
        """What must be the same for the files of an earlier run to be used again."""
        return [self.model, self.weights, str(Path(self.calibration).resolve())]


@dataclass
class Made:
    """What is known of the files: the seconds of each step, and what the peers' inputs need."""

    sources: list[str | None]
    seconds: dict[str, float] = field(default_factory=dict)
    affine: Affine | None = None

    def total(self, name: str) -> float:
        """Seconds from the Keras model to a file, with each step on the way to it."""
        return sum(self.seconds[step] for step in _way(name))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Takes the time of a step and says on stderr that it is done now."""
        print(f"making {step}", file=sys.stderr)
        started = perf_counter()
        yield
        self.seconds[step] = perf_counter() - started

    def save(self, work: Path) -> None:
        """Writes it beside the files."""
        (work / _RECORD).write_text(json.dumps(asdict(self), indent=1) + "\n")


Maker = Callable[[Path, Body, list[Floats]], None]


@dataclass(frozen=True)
class Step:
    """A file on a peer's way: where it goes, what it is made of, and how."""

    file: str
    make: Maker
    needs: str | None = None


def made_by_child(order: Order) -> Made:
    """Makes the files in a fresh process, whose progress goes to stderr.

    Raises:
        EdgenetError: It failed, and said why on stderr.
    """
    command = [sys.executable, "-m", "benchmarks._peer_files", order.model, order.calibration]
    command += [str(order.work), *([order.weights] if order.weights else [])]
    command += ["--stripped"] if order.stripped else []
    command += [] if order.max_drop is None else ["--max-drop", str(order.max_drop)]
    command += [] if order.interpolation is None else ["--interpolation", order.interpolation]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise EdgenetError("the files to compare could not be made: see above")
    return _read(order)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._peer_files")
    parser.add_argument("model")
    parser.add_argument("calibration")
    parser.add_argument("work", type=Path)
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--stripped", action="store_true")
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--interpolation")
    make(Order(**vars(parser.parse_args())))
    return 0


def make(order: Order) -> None:
    """Makes what is not in the folder yet; a file that was deleted is made anew.

    Raises:
        UsageError: The folder holds the files of another model or of other images.
        MissingExtraError: A peer is not installed.
        EdgenetError: As `converters.pipeline.convert`, or a peer failed.
    """
    for module in ("nncf", "tensorflow", "tf2onnx"):
        if find_spec(module) is None:
            raise MissingExtraError("making the peers' files", "convert,benchmarks")
    order.work.mkdir(parents=True, exist_ok=True)
    made = _read(order)
    if order.ours.name not in made.seconds or not (order.ours / MANIFEST).exists():
        _make_ours(order, made)
    missing = [
        name
        for name, step in STEPS.items()
        if name not in made.seconds or not (order.work / step.file).exists()
    ]
    if missing:
        _make_peers(order, made, missing)


def _read(order: Order) -> Made:
    path = order.work / _RECORD
    if not path.exists():
        return Made(order.sources)
    document = json.loads(path.read_text())
    if document["sources"] != order.sources:
        raise UsageError(
            f"{order.work} holds the files of {document['sources']}: "
            f"name another folder with --work"
        )
    affine = document["affine"]
    return Made(
        order.sources,
        document["seconds"],
        affine and Affine(tuple(affine["scale"]), tuple(affine["offset"])),
    )


def _make_ours(order: Order, made: Made) -> None:
    # Nobody's seconds: the peers' steps find TensorFlow imported too.
    import tensorflow  # noqa: F401

    with made.timed(order.ours.name):
        convert(
            order.model,
            order.ours,
            precision="int8",
            weights=order.weights,
            calibration=order.calibration,
            max_drop=order.max_drop,
            interpolation=order.interpolation,
        )
    made.save(order.work)


def _make_peers(order: Order, made: Made, missing: list[str]) -> None:
    import tensorflow  # noqa: F401

    with made.timed(_BODY):
        spec = Bundle.open(order.ours).manifest.input
        source = load_source(order.model, weights=order.weights)
        body = take_apart(source.model, spec.shape[1:3], order.stripped)
        folder = ImageFolder.open(order.calibration).sample(EFFORTS[DEFAULT_EFFORT].images)
        images = [body.affine.normalize(batch.images) for batch in folder.batches(spec, 1)]
    made.affine = body.affine
    for name in missing:
        with made.timed(name):
            STEPS[name].make(order.work, body, images)
        made.save(order.work)


def _way(name: str) -> Iterator[str]:
    yield name
    if not name.startswith(OURS):
        needs = STEPS[name].needs
        yield from (_BODY,) if needs is None else _way(needs)


def _float_tflite(work: Path, body: Body, images: list[Floats]) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([body.function])
    (work / STEPS["float TFLite"].file).write_bytes(converter.convert())


def _int8_tflite(work: Path, body: Body, images: list[Floats]) -> None:
    """Full integer quantization, as TensorFlow's guide to post-training quantization has it."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([body.function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    (work / STEPS["TFLiteConverter"].file).write_bytes(converter.convert())


def _float_onnx(work: Path, body: Body, images: list[Floats]) -> None:
    """From the TFLite file, which holds the graph frozen."""
    paths = ["--tflite", STEPS["float TFLite"].file, "--output", STEPS["float ONNX"].file]
    command = [sys.executable, "-m", "tf2onnx.convert", *paths, "--opset", _OPSET]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgenetError(f"tf2onnx failed: {done.stderr.strip().splitlines()[-1]}")


def _int8_onnx(work: Path, body: Body, images: list[Floats]) -> None:
    """Per channel, QDQ; unsigned activations, the peer's fast ones on x86."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self._feeds = iter([{name: image} for image in images])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    source, prepared = work / STEPS["float ONNX"].file, work / "float.prepared.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(work / STEPS["quantize_static"].file),
        Reader(onnx.load(str(source)).graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _nncf(preset: str) -> Maker:
    def make(work: Path, body: Body, images: list[Floats]) -> None:
        import nncf  # type: ignore[import-not-found, import-untyped]
        import openvino

        model = openvino.convert_model(work / STEPS["float TFLite"].file)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=getattr(nncf.QuantizationPreset, preset),
            subset_size=len(images),
        )
        openvino.save_model(quantized, work / STEPS[f"NNCF {preset}"].file)

    return make


# In an order in which each finds what it needs.
STEPS = {
    "float TFLite": Step("float.tflite", _float_tflite),
    "TFLiteConverter": Step("tflite_converter.tflite", _int8_tflite),
    "float ONNX": Step("float.onnx", _float_onnx, needs="float TFLite"),
    "quantize_static": Step("quantize_static.onnx", _int8_onnx, needs="float ONNX"),
    "NNCF PERFORMANCE": Step("nncf_performance.xml", _nncf("PERFORMANCE"), needs="float TFLite"),
    "NNCF MIXED": Step("nncf_mixed.xml", _nncf("MIXED"), needs="float TFLite"),
}


if __name__ == "__main__":
    end(main)
