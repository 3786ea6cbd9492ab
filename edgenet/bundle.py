"""The bundle: the folder that `convert` writes, and the manifest that vouches for each file in it.

Layout::

    BUNDLE/manifest.json
    BUNDLE/model.tflite · model.onnx · model.xml + model.bin
    BUNDLE/labels.txt                    one class name a line, where the names are known
    BUNDLE/reference/model.tflite        the fp32 model, so that `check` needs no TensorFlow
    BUNDLE/compiled/SM8650.onnx          what a vendor's compiler made of the model, for a target

A bundle appears whole or not at all: `edgenet.staging` writes it beside its place and renames it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgenet.errors import BundleError, UsageError
from edgenet.manifest_schema import SCHEMA, misfit

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-mixed", "w8a16", "w8", "dynamic")

CLASSIFICATION, REGRESSION = TASKS = ("classification", "regression")
"""What a network is for: to tell classes, or quantities."""
ANSWERS = {CLASSIFICATION: "logits", REGRESSION: "values"}
"""By task, the output that the others are made of, images × classes or images × values."""

_AGAIN = "copy the bundle again, or convert again"


@dataclass(frozen=True)
class FileRecord:
    """One file of a bundle: its size in bytes, its sha256, and its path.

    The path is relative to the bundle, its parts joined by "/", and leads nowhere out of it.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Verification:
    """How an artifact compared with the Keras model on `images` images at conversion.

    The images are among those given for calibration: ones that set no range and, where these are
    few, others too.

    `agreement` is the share of images with the same top-1 class (None of a regression), `sqnr_db`
    the signal-to-quantization-noise ratio of the logits or values in dB (None where the two are
    equal to the bit), `max_error` the largest absolute difference of one.
    """

    images: int
    agreement: float | None
    sqnr_db: float | None
    max_error: float


@dataclass(frozen=True)
class Artifact:
    """The model in one format; the first of `files` is the one that the engine opens."""

    format: str
    precision: str
    files: tuple[FileRecord, ...]
    verified: Verification

    @property
    def bytes(self) -> int:
        """The size of all its files, in bytes."""
        return sum(record.bytes for record in self.files)


@dataclass(frozen=True)
class Compiled:
    """What a vendor's compiler made of an artifact, for one device.

    Attributes:
        kind: "compiled": no engine on this machine ran it, unlike an `Artifact`.
        device: What it was compiled for, in the compiler's word.
        format: The artifact that it was made of.
        compiler: The compiler and its version.
        file: The compiled network.
        report: `operators` on the NPU and on the CPU and, where the compiler tells, what it
            estimates (`estimated_by_compiler`: latency, memory): no one measured that.
    """

    device: str
    format: str
    compiler: str
    file: FileRecord
    report: Mapping[str, Any]
    kind: str = "compiled"


@dataclass(frozen=True)
class InputSpec:
    """What the model takes: `shape` is (batch, height, width, 3), values are RGB 0..255.

    `dtype` is "uint8", or "float32" for devices that take no bytes; sessions cast to it.
    The normalization is inside the model: `preprocessing` says so to those who have the manifest
    alone, with the name that `--preprocess` gave it. `crop_fraction` (1.0 = no crop) and
    `interpolation` say how `edgenet.images` brings a photo to `shape`.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: str
    layout: str
    preprocessing: str
    crop_fraction: float
    interpolation: str


@dataclass(frozen=True)
class OutputSpec:
    """A float32 output: logits, probabilities (batch, classes) or features (batch, channels).

    A regression has values (batch, values) in place of the first two.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says of itself; nothing in it changes between two equal conversions.

    `source` names the variant or the file with its sha256 (of a SavedModel that of what is read of
    it, `edgenet.models.savedmodel.files_of`), `recipe` is the quantization as JSON (None for a
    float precision), `calibration` the images that set the ranges (count and digest), `versions`
    the tools. `target` is where it is meant to run, and `compiled` what was compiled for that.
    `evaluation` is what was measured on labelled images at conversion: how many, the sha256 of
    their pixels, the reference's top-1 and, for each format, `Fidelity`'s figures.
    """

    source: Mapping[str, Any]
    precision: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    labels: FileRecord | None
    recipe: Mapping[str, Any] | None
    calibration: Mapping[str, Any] | None
    artifacts: tuple[Artifact, ...]
    reference: Artifact | None
    versions: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, Any] | None = None
    compiled: tuple[Compiled, ...] = ()
    evaluation: Mapping[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def answer(self) -> OutputSpec:
        """What the network is for: its logits, or a regression's values."""
        return next(output for output in self.outputs if output.name in ANSWERS.values())

    @property
    def task(self) -> str:
        """Of `TASKS`."""
        return next(task for task, name in ANSWERS.items() if name == self.answer.name)

    @property
    def float_model(self) -> Artifact | None:
        """The fp32 model: the reference, or the model itself where that is fp32."""
        if self.reference is None and self.precision == "fp32":
            return self.artifacts[0]
        return self.reference

    def to_json(self) -> str:
        """The manifest as text, the same for equal manifests."""
        document = asdict(self)
        if self.target is None:
            del document["target"], document["compiled"]
        if self.evaluation is None:
            del document["evaluation"]
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads what `to_json` wrote.

        Raises:
            BundleError: It is no manifest, or of a schema that this version of edgenet does not
                know.
        """
        try:
            document = json.loads(text)
            schema = document["schema_version"]
            if schema != SCHEMA_VERSION:
                raise BundleError(
                    f"its manifest has schema version {schema}; this edgenet reads "
                    f"{SCHEMA_VERSION}: convert again, or take the edgenet that made it"
                )
            place = misfit(document, SCHEMA)
            if place is not None:
                raise ValueError(f"{place} holds another kind of value than it should")
            return _checked(_manifest(document))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(
                f"its manifest is damaged ({type(error).__name__}: {error}); {_AGAIN}"
            ) from error


def _checked(manifest: Manifest) -> Manifest:
    """Refuses what is of the right kinds and can be no bundle's."""
    artifacts = (*manifest.artifacts, *filter(None, (manifest.reference,)))
    shapes = [manifest.input.shape, *(output.shape for output in manifest.outputs)]
    good = (
        manifest.artifacts
        and all(a.files and a.format in FORMATS and a.precision in PRECISIONS for a in artifacts)
        and all(shape and min(shape) > 0 for shape in shapes)
        and len(manifest.input.shape) == 4
    )
    if not good:
        raise ValueError("a value is not one that it can have")
    answers = [output for output in manifest.outputs if output.name in ANSWERS.values()]
    if [len(answer.shape) for answer in answers] != [2]:
        raise ValueError(f"there is no output {' or '.join(ANSWERS.values())}, images × classes")
    records = [*filter(None, (manifest.labels,)), *(c.file for c in manifest.compiled)]
    for record in (*records, *(file for artifact in artifacts for file in artifact.files)):
        if not _stays_inside(record.path):
            raise ValueError(f"{record.path!r} is no path of a file in the bundle")
    return manifest


def _stays_inside(path: str) -> bool:
    """Whether a path names something in the folder that it is joined to, on any system."""
    kinds = (PurePosixPath(path), PureWindowsPath(path))
    inside = all(kind.parts and not kind.anchor and ".." not in kind.parts for kind in kinds)
    # No system takes a zero in a name, nor half of a surrogate pair.
    return inside and not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in path)


def _record(document: Mapping[str, Any]) -> FileRecord:
    return FileRecord(path=document["path"], bytes=document["bytes"], sha256=document["sha256"])


def _artifact(document: Mapping[str, Any]) -> Artifact:
    return Artifact(
        format=document["format"],
        precision=document["precision"],
        files=tuple(_record(file) for file in document["files"]),
        verified=Verification(**document["verified"]),
    )


def _compiled(document: Mapping[str, Any]) -> Compiled:
    return Compiled(
        device=document["device"],
        format=document["format"],
        compiler=document["compiler"],
        file=_record(document["file"]),
        report=document["report"],
        kind=document["kind"],
    )


def _manifest(document: Mapping[str, Any]) -> Manifest:
    spec = dict(document["input"])
    reference, labels = document["reference"], document["labels"]
    return Manifest(
        source=document["source"],
        precision=document["precision"],
        input=InputSpec(**{**spec, "shape": tuple(spec["shape"])}),
        outputs=tuple(OutputSpec(o["name"], tuple(o["shape"])) for o in document["outputs"]),
        labels=_record(labels) if labels else None,
        recipe=document["recipe"],
        calibration=document["calibration"],
        artifacts=tuple(_artifact(artifact) for artifact in document["artifacts"]),
        reference=_artifact(reference) if reference else None,
        versions=document["versions"],
        target=document.get("target"),
        compiled=tuple(map(_compiled, document["compiled"])) if "target" in document else (),
        evaluation=document.get("evaluation"),
        schema_version=document["schema_version"],
    )


def summary(manifest: Manifest) -> dict[str, Any]:
    """How a bundle was made, for reports: without each tensor's range and each channel's scale."""
    recipe = manifest.recipe or {}
    short = {key: value for key, value in recipe.items() if key not in ("ranges", "rewrites")}
    return {
        "source": dict(manifest.source),
        "precision": manifest.precision,
        "input_shape": list(manifest.input.shape),
        "input_dtype": manifest.input.dtype,
        "preprocessing": manifest.input.preprocessing,
        "calibration": manifest.calibration and dict(manifest.calibration),
        "recipe": {
            **short,
            "ranges": len(recipe.get("ranges", ())),
            "rewrites": {
                kind: len(tensors) for kind, tensors in recipe.get("rewrites", {}).items()
            },
        }
        if manifest.recipe
        else None,
        "versions": dict(manifest.versions),
    }


@dataclass(frozen=True)
class Bundle:
    """An open bundle: its folder and its manifest; it can be passed wherever a path can."""

    path: Path
    manifest: Manifest

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Reads the manifest; files are checked when they are asked for.

        Args:
            path: The folder; a bundle that is open already is returned as it is.

        Raises:
            UsageError: There is no such folder.
            BundleError: The folder holds no manifest, or a damaged one.
        """
        if isinstance(path, Bundle):
            return path
        folder = Path(path)
        try:
            if not folder.is_dir():
                raise UsageError(_no_folder(folder))
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BundleError(
                f"{folder} is not a bundle: no readable {MANIFEST} in it ({reason})"
            ) from error
        try:
            return cls(folder, Manifest.from_json(text))
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from error

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that the bundle holds, in the order in which they were written."""
        return tuple(artifact.format for artifact in self.manifest.artifacts)

    @property
    def classes(self) -> int:
        """How many the model knows; of a regression, how many values it answers with."""
        return self.manifest.answer.shape[-1]

    def artifact(self, format: str) -> Artifact:
        """The artifact of a format.

        Raises:
            UsageError: The bundle has none of that format.
        """
        for artifact in self.manifest.artifacts:
            if artifact.format == format:
                return artifact
        raise UsageError(f"{self.path} holds no {format} file; it has {', '.join(self.formats)}")

    @property
    def at_hand(self) -> tuple[Artifact, ...]:
        """The artifacts whose files are in the folder: a device may have those of one engine alone.

        Where the folder has none of them, all artifacts, so that opening one names a missing file.
        """
        every = self.manifest.artifacts
        return tuple(artifact for artifact in every if self._has(artifact)) or every

    def _has(self, artifact: Artifact) -> bool:
        return all((self.path / file.path).is_file() for file in artifact.files)

    def vouched(self, record: FileRecord) -> Path:
        """The path of a file, once its bytes have been found to be those that `convert` wrote.

        Raises:
            BundleError: The file is missing or its sha256 is another.
        """
        path = self.path / record.path
        try:
            found = sha256_of(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror}); {_AGAIN}") from error
        if found != record.sha256:
            raise BundleError(
                f"{path} is not the file that was verified: its sha256 differs; {_AGAIN}"
            )
        return path

    def model_path(self, artifact: Artifact) -> Path:
        """The file that the engine opens, with every file of the artifact vouched for."""
        model, *_ = (self.vouched(record) for record in artifact.files)
        return model

    def compiled_path(self, device: str) -> Path:
        """The file compiled for a device, vouched for.

        Raises:
            UsageError: There is none for it; the message names those that there are.
            BundleError: It is not the file that the compiler wrote.
        """
        for compiled in self.manifest.compiled:
            if compiled.device == device:
                return self.vouched(compiled.file)
        found = ", ".join(compiled.device for compiled in self.manifest.compiled) or "no device"
        raise UsageError(f"{self.path} has nothing compiled for {device}: it has for {found}")

    def labels(self) -> tuple[str, ...] | None:
        """The class names in index order, or None where the bundle has none."""
        if self.manifest.labels is None:
            return None
        return tuple(self.vouched(self.manifest.labels).read_text(encoding="utf-8").splitlines())


def _no_folder(path: Path) -> str:
    if not path.exists():
        return f"no such bundle: {path} (edgenet convert MODEL -o {path} makes one)"
    # The reference and what was compiled lie a folder deeper.
    homes = (f"{home}/" for home in list(path.parents)[:2] if (home / MANIFEST).is_file())
    return (
        f"{path} is a file, and a bundle is the folder that edgenet convert writes: name "
        f"{next(homes, 'that')}"
    )


def sha256_of(*paths: Path) -> str:
    """The sha256 of a file, or of several end to end, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def record_of(folder: Path, path: Path) -> FileRecord:
    """The record of a file that lies in a bundle's folder."""
    return FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
