"""What `benchmarks.scaling` runs in fresh processes: building a network, and converting it.

python -m benchmarks._scaling_child build VARIANT FILE
python -m benchmarks._scaling_child convert FILE PRECISION FOLDER FORMATS IMAGES
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

import edgenet
from benchmarks._common import end, made_up_photo
from converters.graph import Floats
from edgenet import photographs
from edgenet.measure.footprint import peak_rss_mb
from edgenet.measure.latency import interleaved

_SEED = 20
# Of the images that set BatchNorm's moments: small, as a larger size would only cost memory.
_SIZE = 160
_IMAGES = 8
_RESIDUAL = 0.3
# Of timing: at least so many runs, and so long.
_RUNS, _SECONDS = 10, 1.0


@dataclass(frozen=True)
class File:
    """One file of a bundle, what its answers are worth against Keras's, and how fast it runs."""

    format: str
    bytes: int
    agreement: float | None
    sqnr_db: float | None
    p50_ms: float


@dataclass(frozen=True)
class Conversion:
    """What a call of `convert` took, and made; `cpu_seconds` are those of all cores together."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    files: tuple[File, ...]


def main() -> int:
    args = _parser().parse_args()
    if args.command == "build":
        build(args.variant, args.file)
    else:
        formats = tuple(args.formats.split(","))
        done = convert(args.file, args.precision, args.folder, formats, args.images)
        print(json.dumps(asdict(done)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._scaling_child")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build")
    building.add_argument("variant")
    building.add_argument("file", type=Path)
    converting = commands.add_parser("convert")
    converting.add_argument("file", type=Path)
    converting.add_argument("precision")
    converting.add_argument("folder", type=Path)
    converting.add_argument("formats")
    converting.add_argument("images", type=int)
    return parser


def build(name: str, path: Path) -> None:
    """Saves a variant with random weights whose activations are of order one on photographs.

    He-initialized convolutions, depthwise ones that nearly pass their input on (of noise through
    dozens of random blocks nothing would be left), and BatchNorm with the moments that photographs
    have there.
    """
    import keras

    from edgenet.models.efficientnet import efficientnet
    from edgenet.models.specs import variant

    keras.utils.set_random_seed(_SEED)
    spec = replace(variant(name), dropout=0.0, drop_connect=0.0)
    small = efficientnet(spec, input_size=_SIZE)
    residuals = {f"{block.name}_project_bn" for block in spec.blocks if block.has_skip}
    for layer in small.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.name in residuals:
                layer.gamma.assign(_RESIDUAL * np.ones(layer.gamma.shape))
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([_nearly_passing(layer.get_weights()[0])])
    images = np.stack(list(photographs.crops(_IMAGES, _SIZE, _SIZE, photographs.WIDE)))
    small(images.astype(np.float32), training=True)
    model = efficientnet(spec)
    model.set_weights(small.get_weights())
    model.save(path)


def _nearly_passing(kernel: Floats) -> Floats:
    kernel = 0.3 * kernel / np.abs(kernel).max()
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += 1
    return kernel


def convert(
    file: Path, precision: str, folder: Path, formats: tuple[str, ...], images: int
) -> Conversion:
    """Converts a saved model, and says on stderr what is being done when."""
    started = perf_counter()

    def report(line: str) -> None:
        print(f"{perf_counter() - started:6.1f} s {_peak_mb():6.0f} MB  {line}", file=sys.stderr)

    from converters import pipeline
    from converters.scheme.recipe import CALIBRATED

    bundle = pipeline.convert(
        file,
        folder,
        precision=precision,
        formats=formats,
        calibration_images=images if precision in CALIBRATED else None,
        report=report,
    )
    costs = perf_counter() - started, process_time(), _peak_mb()
    times = _p50s(folder, formats)
    files = (
        File(a.format, a.bytes, a.verified.agreement, a.verified.sqnr_db, times[a.format])
        for a in bundle.manifest.artifacts
    )
    return Conversion(*costs, tuple(files))


def _peak_mb() -> float:
    found = peak_rss_mb()
    if found is None:
        raise SystemExit("this system does not tell a process's memory: measure on Linux or macOS")
    return found


def _p50s(bundle: Path, formats: Sequence[str]) -> dict[str, float]:
    """Of each format, in turns, on all cores; in ms."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(edgenet.load(bundle, format)) for format in formats]
        _, height, width, _ = sessions[0].info.input_shape
        photo = made_up_photo(height, width)[None]
        calls = [partial(session.run, photo) for session in sessions]
        timings = interleaved(calls, runs=_RUNS, min_time=_SECONDS)
    return {format: timing.p50_ms for format, timing in zip(formats, timings, strict=True)}


if __name__ == "__main__":
    end(main)
