"""Makes our int8 files and the peers', from one Keras model and the same images.

It runs in a process of its own, which `made_by_child` starts, so that TensorFlow's threads are gone
when `benchmarks.peers` starts its clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks._common import end
from benchmarks._peer_model import Affine, Body, Floats, take_apart
from converters.pipeline import convert
from converters.quantization.quantize import DEFAULT_EFFORT, EFFORTS
from converters.sources import load_source
from edgenet import __version__
from edgenet.bundle import MANIFEST, Bundle, sha256_of
from edgenet.errors import EdgenetError, MissingExtraError, UsageError
from edgenet.images import ImageFolder

OURS = "ours"
PACKAGES = (
    *("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "nncf", "openvino"),
    *("ai-edge-litert", "litert-quantizer", "numpy", "Pillow"),
)
"""The distributions that make the peers' files and ours."""

_PEERS = {
    "tflite": ("TFLiteConverter", "keras.export", "litert-quantizer"),
    "onnx": ("quantize_static",),
    "openvino": ("NNCF PERFORMANCE", "NNCF MIXED"),
}
# What the peers' own guides advise where int8 products are added in 16 bits.
_REMEDIES = {
    "onnx": ("quantize_static reduce_range",),
    "openvino": ("NNCF PERFORMANCE overflow_fix", "NNCF MIXED overflow_fix"),
}
_BODY = "body"
_RECORD = "made.json"
_OPSET = "17"


@dataclass(frozen=True)
class Order:
    """What all files are made from, and the folder that they go into.

    `stripped` gives the peers the model without its preprocessing layers, `remedies` has them make
    files for CPUs that add int8 products in 16 bits besides; `max_drop` is for ours, whose folder
    is named by it.
    """

    model: str
    weights: str | None
    calibration: str
    work: Path
    stripped: bool
    max_drop: float | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    remedies: bool = False

    @property
    def ours(self) -> Path:
        """The folder of our bundle."""
        return self.work / (OURS if self.max_drop is None else f"{OURS}-{self.max_drop:g}")

    def peers(self, format: str) -> tuple[str, ...]:
        """The peers' files of a format."""
        return (*_PEERS[format], *(_REMEDIES.get(format, ()) if self.remedies else ()))

    @property
    def steps(self) -> set[str]:
        """What the peers' files take to make."""
        return {step for format in _PEERS for name in self.peers(format) for step in _way(name)}

    @cached_property
    def sources(self) -> dict[str, Any]:
        """What must be the same for the files of an earlier run to be used again."""
        return {
            "model": _identity(self.model),
            "weights": self.weights and _identity(self.weights),
            "calibration": ImageFolder.open(self.calibration).digest(),
            "calibration images": EFFORTS[DEFAULT_EFFORT].images,
            "stripped": self.stripped,
            "crop fraction": self.crop_fraction,
            "interpolation": self.interpolation,
            "edgenet": __version__,
            **{package: version(package) for package in PACKAGES},
        }


@dataclass
class Made:
    """What is known of the files: the seconds of each step, and what the peers' inputs need."""

    sources: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    affine: Affine | None = None

    def total(self, *names: str) -> float:
        """Seconds from the Keras model to one file or several: a step shared counts once."""
        return sum(self.seconds[step] for step in {step for name in names for step in _way(name)})

    def cheapest(self, choices: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], float]:
        """One file of each choice, those that take the least together, and their seconds."""
        names = min(product(*choices), key=lambda names: self.total(*names))
        return names, self.total(*names)

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


def _identity(source: str) -> str:
    """A file by what it holds, anything else by its name."""
    path = Path(source)
    return sha256_of(path) if path.is_file() else source


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
        MissingExtraError: A peer is not installed.
        EdgenetError: It failed, and said why on stderr.
    """
    command = [sys.executable, "-m", "benchmarks._peer_files", order.model, order.calibration]
    command += [str(order.work), *([order.weights] if order.weights else [])]
    command += ["--stripped"] if order.stripped else []
    command += ["--remedies"] if order.remedies else []
    command += [] if order.max_drop is None else ["--max-drop", str(order.max_drop)]
    command += [] if order.crop_fraction is None else ["--crop-fraction", str(order.crop_fraction)]
    command += [] if order.interpolation is None else ["--interpolation", order.interpolation]
    for module in ("litert_quantizer", "nncf", "tensorflow", "tf2onnx"):
        if find_spec(module) is None:
            raise MissingExtraError("making the peers' files", "all,benchmarks")
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
    parser.add_argument("--remedies", action="store_true")
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--crop-fraction", type=float)
    parser.add_argument("--interpolation")
    make(Order(**vars(parser.parse_args())))
    return 0


def make(order: Order) -> None:
    """Makes what is not in the folder yet; a file that was deleted is made anew.

    Raises:
        UsageError: The folder holds files that were made otherwise.
        EdgenetError: As `converters.pipeline.convert`, or a peer failed.
    """
    order.work.mkdir(parents=True, exist_ok=True)
    made = _read(order)
    if order.ours.name not in made.seconds or not (order.ours / MANIFEST).exists():
        _make_ours(order, made)
    missing = [
        name
        for name, step in STEPS.items()
        if name in order.steps
        and (name not in made.seconds or not (order.work / step.file).exists())
    ]
    if missing:
        _make_peers(order, made, missing)


def _read(order: Order) -> Made:
    path = order.work / _RECORD
    if not path.exists():
        return Made(order.sources)
    document = json.loads(path.read_text())
    _require_same(order, document["sources"])
    affine = document["affine"]
    return Made(
        order.sources,
        document["seconds"],
        affine and Affine(tuple(affine["scale"]), tuple(affine["offset"])),
    )


def _require_same(order: Order, earlier: Any) -> None:
    if earlier == order.sources:
        return
    # Once it was a list of fewer things.
    kept = earlier if isinstance(earlier, dict) else {}
    others = [name for name, value in order.sources.items() if kept.get(name) != value]
    raise UsageError(
        f"{order.work} holds files that were made otherwise ({', '.join(others)}): "
        "name another folder with --work"
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
            crop_fraction=order.crop_fraction,
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
            STEPS[name].make(order.work / STEPS[name].file, body, images)
        made.save(order.work)


def _way(name: str) -> Iterator[str]:
    yield name
    if not name.startswith(OURS):
        needs = STEPS[name].needs
        yield from (_BODY,) if needs is None else _way(needs)


def _float_tflite(target: Path, body: Body, images: list[Floats]) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([body.function])
    target.write_bytes(converter.convert())


def _int8_tflite(target: Path, body: Body, images: list[Floats]) -> None:
    """Full integer quantization, as TensorFlow's guide to post-training quantization has it."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([body.function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    target.write_bytes(converter.convert())


def _keras_export(target: Path, body: Body, images: list[Floats]) -> None:
    """As Keras's guide to exporting has it: `TFLiteConverter`, on batches of any size."""
    import tensorflow as tf

    body.model.export(
        str(target),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([image] for image in images),
    )


def _signed_tflite(target: Path, body: Body, images: list[Floats]) -> None:
    """A float file with a signature, without which litert-quantizer does not calibrate."""
    import tensorflow as tf

    # Swish has a gradient of its own, which cannot be saved, nor is it wanted.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures=body.function, options=options)
        target.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def _litert_quantizer(target: Path, body: Body, images: list[Floats]) -> None:
    """Static ranges, 8 bits of weights and activations, by its own recipe and calibration."""
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import Quantizer, recipe  # type: ignore[import-not-found, import-untyped]

    source = str(target.with_name(STEPS["float TFLite, signed"].file))
    ((signature, ends),) = Interpreter(source).get_signature_list().items()
    (taken,) = ends["inputs"]
    quantizer = Quantizer(source, recipe.static_wi8_ai8())
    ranges = quantizer.calibrate({signature: [{taken: image} for image in images]})
    quantizer.quantize(ranges).export_model(str(target), overwrite=True)


def _float_onnx(target: Path, body: Body, images: list[Floats]) -> None:
    """From the TFLite file, which holds the graph frozen."""
    paths = ["--tflite", STEPS["float TFLite"].file, "--output", target.name]
    command = [sys.executable, "-m", "tf2onnx.convert", *paths, "--opset", _OPSET]
    done = subprocess.run(command, cwd=target.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgenetError(f"tf2onnx failed: {done.stderr.strip().splitlines()[-1]}")


def _int8_onnx(
    target: Path, body: Body, images: list[Floats], *, reduce_range: bool = False
) -> None:
    """Per channel, QDQ; unsigned activations, the peer's fast ones on x86.

    `reduce_range` gives weights 7 bits, as ONNX Runtime's guide ("Quantize ONNX models") advises
    for AVX2 and AVX-512 without VNNI.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self._feeds = iter([{name: image} for image in images])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    source = target.with_name(STEPS["float ONNX"].file)
    prepared = target.with_name("float.prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Reader(onnx.load(str(source)).graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _nncf(
    target: Path, body: Body, images: list[Floats], *, preset: str, overflow_fix: str
) -> None:
    """Post-training quantization.

    `overflow_fix` halves the range of weights in the first layer, which is NNCF's default, or with
    ENABLE in all, which `nncf.OverflowFix` advises for AVX2 and AVX-512 where that is too little.
    """
    import nncf  # type: ignore[import-not-found, import-untyped]
    import openvino

    quantized = nncf.quantize(
        openvino.convert_model(target.with_name(STEPS["float TFLite"].file)),
        nncf.Dataset(images),
        preset=getattr(nncf.QuantizationPreset, preset),
        subset_size=len(images),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=getattr(nncf.OverflowFix, overflow_fix)
        ),
    )
    openvino.save_model(quantized, target)


def _nncf_step(preset: str, overflow_fix: str = "FIRST_LAYER") -> Step:
    suffix = "" if overflow_fix == "FIRST_LAYER" else "_overflow_fix"
    return Step(
        f"nncf_{preset.lower()}{suffix}.xml",
        partial(_nncf, preset=preset, overflow_fix=overflow_fix),
        needs="float TFLite",
    )


# In an order in which each finds what it needs.
STEPS = {
    "float TFLite": Step("float.tflite", _float_tflite),
    "TFLiteConverter": Step("tflite_converter.tflite", _int8_tflite),
    "keras.export": Step("keras_export.tflite", _keras_export),
    "float TFLite, signed": Step("float_signed.tflite", _signed_tflite),
    "litert-quantizer": Step(
        "litert_quantizer.tflite", _litert_quantizer, needs="float TFLite, signed"
    ),
    "float ONNX": Step("float.onnx", _float_onnx, needs="float TFLite"),
    "quantize_static": Step("quantize_static.onnx", _int8_onnx, needs="float ONNX"),
    "quantize_static reduce_range": Step(
        "quantize_static_reduce_range.onnx",
        partial(_int8_onnx, reduce_range=True),
        needs="float ONNX",
    ),
    "NNCF PERFORMANCE": _nncf_step("PERFORMANCE"),
    "NNCF MIXED": _nncf_step("MIXED"),
    "NNCF PERFORMANCE overflow_fix": _nncf_step("PERFORMANCE", "ENABLE"),
    "NNCF MIXED overflow_fix": _nncf_step("MIXED", "ENABLE"),
}


if __name__ == "__main__":
    end(main)
