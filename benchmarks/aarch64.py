"""What a bundle answers on Arm CPUs, beside what it answers here and what its fp32 model does.

    python -m benchmarks.aarch64 BUNDLE --evaluate DIR [--images N]

QEMU emulates the processors (`apt install qemu-user-static`), and the engines are the registry's
builds for aarch64; see `benchmarks._emulated`. The answers are real, times are not taken.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import edgenet
from benchmarks._common import bounded, end
from benchmarks._emulated import CPUS, Device, device
from edgenet.bundle import Bundle
from edgenet.errors import UsageError
from edgenet.images import ImageFolder, Pixels
from edgenet.measure.accuracy import agreement, sqnr_db
from edgenet.measure.fidelity import Logits
from edgenet.measure.machine import describe
from edgenet.report.document import dumps
from edgenet.report.table import render

# What the device runs: edgenet as it is here, and one engine.
_SCRIPT = """
import sys
import numpy as np
import edgenet

bundle, format, images, answers = sys.argv[1:]
with edgenet.load(bundle, format, threads=1) as session:
    np.save(answers, session.run(np.load(images)))
"""


@dataclass(frozen=True)
class Row:
    """A file on a processor: beside the fp32 model, and beside the same file on this machine.

    `beside_here_db` is None where all logits are equal to the bit.
    """

    format: str
    precision: str
    cpu: str
    sqnr_db: float | None
    agreement: float
    beside_here_db: float | None


def main() -> int:
    args = _parser().parse_args()
    bundle = Bundle.open(args.bundle)
    images = _images(args, bundle)
    arm = device()
    with edgenet.load(bundle, reference=True) as session:
        reference = session.run(images)
    rows = []
    for format in args.format or bundle.formats:
        with edgenet.load(bundle, format) as session:
            here = session.run(images)
        rows.append(_row(bundle, format, "this machine", reference, here, here))
        for cpu in args.cpu:
            print(f"{format} on {cpu}", file=sys.stderr)
            there = answers(arm, cpu, bundle.path, format, images)
            rows.append(_row(bundle, format, cpu, reference, here, there))
    if args.json:
        results = [asdict(row) for row in rows]
        print(dumps({"machine": describe(), "images": len(images), "results": results}))
    else:
        print(_report(args.bundle, rows, images))
    return 0


def answers(arm: Device, cpu: str, bundle: Path, format: str, images: Pixels) -> Logits:
    """What a bundle's file answers to images, (N, classes), on a processor of `CPUS`."""
    with TemporaryDirectory() as folder:
        places = Path(folder, "images.npy"), Path(folder, "answers.npy")
        np.save(places[0], images)
        arm.python(cpu, "-c", _SCRIPT, str(bundle.resolve()), format, *map(str, places))
        found: Logits = np.load(places[1])
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aarch64")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--evaluate", metavar="DIR", required=True, help="photos, labels unused")
    parser.add_argument("--crop-fraction", type=float, metavar="F")
    parser.add_argument("--images", type=bounded(int, 1), default=24, metavar="N")
    parser.add_argument("--format", nargs="+", metavar="F", help="default: all of the bundle")
    parser.add_argument("--cpu", nargs="+", choices=CPUS, default=list(CPUS), metavar="CPU")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _images(args: argparse.Namespace, bundle: Bundle) -> Pixels:
    spec = bundle.manifest.input
    if bundle.manifest.reference is None:
        raise UsageError(f"{bundle.path} holds no fp32 reference to compare with")
    if args.crop_fraction is not None:
        spec = replace(spec, crop_fraction=args.crop_fraction)
    folder = ImageFolder.open(args.evaluate).sample(args.images)
    (batch,) = islice(folder.batches(spec, len(folder)), 1)
    return batch.images


def _row(
    bundle: Bundle, format: str, cpu: str, reference: Logits, here: Logits, there: Logits
) -> Row:
    return Row(
        format,
        bundle.artifact(format).precision,
        cpu,
        sqnr_db(reference, there),
        agreement(reference, there),
        sqnr_db(here, there),
    )


def _report(bundle: str, rows: list[Row], images: Pixels) -> str:
    headers = ["format", "precision", "CPU", "SQNR dB", "agreement", "dB beside this machine"]
    cells = [
        [
            *(row.format, row.precision, row.cpu, _decibels(row.sqnr_db)),
            *(f"{row.agreement:.3f}", _decibels(row.beside_here_db)),
        ]
        for row in rows
    ]
    return f"{bundle}, {len(images)} images\n{render(headers, cells, '<<<>>>')}"


def _decibels(ratio: float | None) -> str:
    return "equal" if ratio is None else f"{ratio:.1f}"


if __name__ == "__main__":
    end(main)
