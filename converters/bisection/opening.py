"""Opening what is bisected: a bundle's int8 file and its reference, or two files of any maker."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from converters.bisection.network import Network
from converters.preprocessing import Preprocessing
from edgenet.bundle import Artifact, Bundle, InputSpec
from edgenet.errors import MissingExtraError, UsageError

NETWORKS = {
    "tflite": ("converters.bisection.tflite", "TfliteNetwork"),
    "onnx": ("converters.bisection.onnx", "OnnxNetwork"),
    "openvino": ("converters.bisection.openvino", "OpenvinoNetwork"),
}
"""The class that takes a format apart."""

SUFFIXES = {".tflite": "tflite", ".onnx": "onnx"}
"""The format of a file, by the end of its name."""

_INT8 = ("int8", "int8-mixed")


@dataclass(frozen=True)
class Pair:
    """An int8 network, its float twin, and how photos are brought to their size.

    `rescaled` says that rewrites have multiplied channels of the int8 network.
    """

    format: str
    network: Network
    twin: Network
    input: InputSpec
    rescaled: bool = False


def open_bundle(bundle: Bundle, format: str | None, reference: str | None) -> Pair:
    """Opens an int8 file of a bundle, and the float file of that bundle or of another.

    Args:
        bundle: The bundle.
        format: Of the int8 file; None takes the first that the bundle holds.
        reference: A bundle with a float file, or a float file itself; None takes the bundle's own.

    Raises:
        UsageError: The file is not int8, or there is no float file.
        EdgenetError: As `Bundle.vouched`.
    """
    artifact = bundle.artifact(format) if format else _int8_artifact(bundle)
    if artifact.precision not in _INT8:
        raise UsageError(
            f"the {artifact.format} file of {bundle.path} is {artifact.precision}: bisect takes "
            "int8 (edgenet convert --int8 makes it)"
        )
    twin = _twin(bundle, reference, None)
    network = _opened(artifact.format, bundle.model_path(artifact), twin, None)
    recipe = bundle.manifest.recipe or {}
    return Pair(artifact.format, network, twin, bundle.manifest.input, bool(recipe.get("rewrites")))


def open_files(path: Path, reference: str | None, preprocess: str | None) -> Pair:
    """Opens an int8 file and its float twin, each of any maker.

    Args:
        path: A .tflite or .onnx file.
        reference: The float file, or a bundle with one.
        preprocess: What a float or int8 input wants of pixels, a name of `Preprocessing`; None
            leaves them as they are.

    Raises:
        UsageError: A file is missing or of no known format, or `reference` is None.
    """
    format = _format(path)
    if reference is None:
        raise UsageError(f"{path} needs its float twin: name that file with --reference FLOAT_FILE")
    preprocessing = None if preprocess is None else Preprocessing.named(preprocess)
    twin = _twin(None, reference, preprocessing)
    network = _opened(format, path, twin, preprocessing)
    height, width = network.feed.size
    spec = InputSpec(
        name="image",
        shape=(1, height, width, 3),
        dtype="uint8",
        layout="NHWC",
        preprocessing=preprocess or "in the model",
        crop_fraction=1.0,
        interpolation="bilinear",
    )
    return Pair(format, network, twin, spec)


def _int8_artifact(bundle: Bundle) -> Artifact:
    artifacts = bundle.manifest.artifacts
    return next((a for a in artifacts if a.precision in _INT8), artifacts[0])


def _twin(
    bundle: Bundle | None, reference: str | None, preprocessing: Preprocessing | None
) -> Network:
    if reference is not None and not Path(reference).is_dir():
        path = Path(reference)
        return _opened(_format(path), path, None, preprocessing)
    giver = Bundle.open(reference) if reference is not None else bundle
    assert giver is not None
    artifact = giver.manifest.reference
    if artifact is None and giver.manifest.precision == "fp32":
        artifact = giver.manifest.artifacts[0]
    if artifact is None or not (giver.path / artifact.files[0].path).exists():
        raise UsageError(
            f"{giver.path} holds no fp32 reference here: "
            "name a bundle or a float file that does with --reference"
        )
    return _opened(artifact.format, giver.model_path(artifact), None, None)


def _format(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"no such bundle or file: {path}")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is of no known format: take one of {' '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix]


def _opened(
    format: str, path: Path, twin: Network | None, preprocessing: Preprocessing | None
) -> Network:
    module, name = NETWORKS[format]
    try:
        network: Network = getattr(import_module(module), name)(path, twin, preprocessing)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"bisecting a {format} file ({error.name})", "all") from error
    return network
