"""Opening what is bisected: a bundle's int8 file and its reference, or two files of any maker."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from converters.bisection.network import Network
from converters.preprocessing import Preprocessing
from converters.scheme.recipe import INT8
from edgenet.bundle import Artifact, Bundle, InputSpec
from edgenet.errors import MissingExtraError, UsageError
from edgenet.runtime.engines import ENGINES

NETWORKS = {
    "tflite": ("converters.bisection.tflite", "TfliteNetwork"),
    "onnx": ("converters.bisection.onnx", "OnnxNetwork"),
    "openvino": ("converters.bisection.openvino", "OpenvinoNetwork"),
}
"""The class that takes a format apart."""

SUFFIXES = {".tflite": "tflite", ".onnx": "onnx"}
"""The format of a file, by the end of its name."""

NAMES = {"tflite": "TFLite", "onnx": "ONNX", "openvino": "OpenVINO"}
"""What messages call a format."""

# The engine that runs what was edited, and what the editing needs besides.
_MODULES = {
    "tflite": ("ai_edge_litert",),
    "onnx": ("onnxruntime", "onnx"),
    "openvino": ("openvino",),
}


@dataclass(frozen=True)
class Pair:
    """An int8 network, its float reference, and how photos are brought to their size.

    `rescaled` says that rewrites have multiplied channels of the int8 network, `passed_over` holds
    the formats of int8 files that come first in the bundle but lack a package here. `bundle` is the
    one that the network is of; files of any maker have none.
    """

    format: str
    network: Network
    reference: Network
    input: InputSpec
    rescaled: bool = False
    bundle: Bundle | None = None
    passed_over: tuple[str, ...] = ()


def open_bundle(bundle: Bundle, format: str | None, reference: str | None) -> Pair:
    """Opens an int8 file of a bundle, and the float file of that bundle or of another.

    Args:
        bundle: The bundle.
        format: Of the int8 file; None takes the first that is here and that this machine has the
            packages for.
        reference: A bundle with a float file, of which an fp32 one's is chosen as the int8 file is,
            or a float file itself; None takes the bundle's own.

    Raises:
        UsageError: The file is not int8, or there is no float file.
        MissingExtraError: A package that one of the two needs is not installed.
        EdgenetError: As `Bundle.vouched`.
    """
    artifact = _int8_artifact(bundle) if format is None else bundle.artifact(format)
    if artifact.precision not in INT8:
        raise UsageError(
            f"the {NAMES[artifact.format]} file of {bundle.path} is {artifact.precision}: bisect "
            "takes int8 (edgenet convert --int8 makes it)"
        )
    float_network = _reference(bundle, reference, None)
    network = _opened(artifact.format, bundle.model_path(artifact), float_network, None)
    recipe = bundle.manifest.recipe or {}
    return Pair(
        artifact.format,
        network,
        float_network,
        bundle.manifest.input,
        rescaled=bool(recipe.get("rewrites")),
        bundle=bundle,
        passed_over=_passed_over(bundle, artifact) if format is None else (),
    )


def open_files(path: Path, reference: str | None, preprocess: str | None) -> Pair:
    """Opens an int8 file and its float reference, each of any maker.

    Args:
        path: A .tflite or .onnx file.
        reference: The float file, or a bundle with one.
        preprocess: What a float or int8 input wants of pixels, a name of `Preprocessing`; None
            leaves them as they are.

    Raises:
        UsageError: A file is missing or of no known format, or `reference` is None.
        MissingExtraError: A package that one of the two needs is not installed.
    """
    format = _format(path)
    if reference is None:
        raise UsageError(
            f"{path} needs its float reference: name that file with --reference FLOAT_FILE"
        )
    preprocessing = None if preprocess is None else Preprocessing.named(preprocess)
    float_network = _reference(None, reference, preprocessing)
    network = _opened(format, path, float_network, preprocessing)
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
    return Pair(format, network, float_network, spec)


def _int8_artifact(bundle: Bundle) -> Artifact:
    artifacts = [a for a in bundle.at_hand if a.precision in INT8]
    able = [a for a in artifacts if not _missing(a.format)]
    return next(iter((*able, *artifacts, *bundle.at_hand)))


def _passed_over(bundle: Bundle, taken: Artifact) -> tuple[str, ...]:
    formats = [a.format for a in bundle.at_hand if a.precision in INT8]
    return tuple(formats[: formats.index(taken.format)])


def _missing(format: str) -> list[str]:
    """The modules that taking a format apart needs and that are not here."""
    return [name for name in _MODULES[format] if find_spec(name) is None]


def _reference(
    bundle: Bundle | None, reference: str | None, preprocessing: Preprocessing | None
) -> Network:
    if reference is not None and not Path(reference).is_dir():
        path = Path(reference)
        return _opened(_format(path), path, None, preprocessing)
    giver = Bundle.open(reference) if reference is not None else bundle
    assert giver is not None
    artifact = _float_artifact(giver)
    if artifact is None or not (giver.path / artifact.files[0].path).exists():
        raise UsageError(
            f"{giver.path} holds no fp32 reference here: "
            "name a bundle or a float file that does with --reference"
        )
    return _opened(artifact.format, giver.model_path(artifact), None, None)


def _float_artifact(giver: Bundle) -> Artifact | None:
    """Of an fp32 bundle the first file that is here and that this machine has the packages for."""
    found = giver.manifest.float_model
    if found is None or giver.manifest.reference is not None:
        return found
    here = giver.at_hand
    return next((artifact for artifact in here if not _missing(artifact.format)), here[0])


def _format(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"no such bundle or file: {path}")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is of no known format: take one of {' '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix]


def _opened(
    format: str, path: Path, reference: Network | None, preprocessing: Preprocessing | None
) -> Network:
    missing = _missing(format)
    if missing:
        purpose = f"bisecting {NAMES[format]} files ({path}, by {' and '.join(missing)})"
        raise _lacking(purpose, format, missing)
    module, name = NETWORKS[format]
    network: Network = getattr(import_module(module), name)(path, reference, preprocessing)
    return network


def _lacking(purpose: str, format: str, missing: list[str]) -> MissingExtraError:
    """Names the engine's extra, and by itself what edits files: the host's extra is far larger."""
    engine = next(engine for engine in ENGINES if engine.format == format)
    own = engine.module.partition(".")[0]
    wanted = [f"'edgenet[{engine.extra}]'" if name == own else name for name in missing]
    return MissingExtraError(purpose, engine.extra, f"pip install {' '.join(wanted)}")
