"""What starting costs: `import edgenet` beside `import numpy`, and a process to its first answer.

    python -m benchmarks.cold_start BUNDLE [--rounds 40] [--json]

Every time is that of a whole fresh process, from its start to its end, and the processes take
turns. All modules are compiled beforehand, as pip leaves them where it installs. The bare script
(bare_tflite.py) does by hand what `edgenet run` does, without the files' sha256 and class names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks._common import Ratio, Times, bounded, end, made_up_photo, ratio
from edgenet.bundle import Bundle
from edgenet.errors import EdgenetError
from edgenet.measure.latency import timed
from edgenet.measure.machine import describe
from edgenet.report.cells import number
from edgenet.report.document import dumps
from edgenet.report.table import render
from edgenet.runtime.processors import physical_cores

_ROUNDS = 40


@dataclass(frozen=True)
class Pair:
    """Ours and what it is compared with, as arguments of the interpreter."""

    name: str
    base: str
    ours_command: list[str]
    base_command: list[str]


@dataclass(frozen=True)
class Result:
    """Median milliseconds of a process, and ours / base."""

    name: str
    base: str
    ours_ms: float
    base_ms: float
    ratio: Ratio


def main() -> int:
    args = _parser().parse_args()
    bundle = Bundle.open(args.bundle)
    with TemporaryDirectory() as folder:
        pairs = (_imports(), _first_answers(bundle, _write_photo(Path(folder))))
        results = [_measure(pair, args.rounds, _environment(folder)) for pair in pairs]
    machine = describe()
    if args.json:
        document = {"machine": machine, "results": [asdict(result) for result in results]}
        print(dumps(document))
    else:
        print(f"{machine['cpu']}, {machine['cores']} cores; ms of a fresh process, in turns")
        print(_table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--rounds", type=bounded(int, 1), default=_ROUNDS, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _write_photo(folder: Path) -> str:
    from PIL import Image

    path = folder / "photo.jpg"
    Image.fromarray(made_up_photo(480, 640)).save(path)
    return str(path)


def _imports() -> Pair:
    return Pair("import edgenet", "import numpy", ["-c", "import edgenet"], ["-c", "import numpy"])


def _first_answers(bundle: Bundle, photo: str) -> Pair:
    model = str(bundle.model_path(bundle.artifact("tflite")))
    script = str(Path(__file__).with_name("bare_tflite.py"))
    crop, threads = str(bundle.manifest.input.crop_fraction), str(physical_cores())
    return Pair(
        "first answer, edgenet run",
        "bare LiteRT script",
        ["-m", "edgenet", "run", str(bundle.path), photo, "--engine", "litert"],
        [script, model, photo, crop, threads],
    )


def _environment(folder: str) -> dict[str, str]:
    """Keeps bytecode in the folder: else an installer or a setting that leaves it out decides."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _measure(pair: Pair, rounds: int, environment: dict[str, str]) -> Result:
    commands = (pair.ours_command, pair.base_command)
    times = _in_turns([partial(_process, command, environment) for command in commands], rounds)
    ours_ms, base_ms = (float(median) for median in np.median(times, axis=0))
    return Result(pair.name, pair.base, ours_ms, base_ms, ratio(times[:, 0], times[:, 1]))


def _in_turns(calls: list[Callable[[], None]], rounds: int) -> Times:
    """Milliseconds, rounds × calls; without the first, which reads disks and compiles."""
    times = np.empty((rounds + 1, len(calls)))
    for row in range(rounds + 1):
        order = range(len(calls)) if row % 2 else reversed(range(len(calls)))
        for column in order:
            times[row, column] = timed(calls[column])[0] / 1e6
    return times[1:]


def _process(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise EdgenetError(f"python {' '.join(command)} failed: {reason}")


def _table(results: list[Result]) -> str:
    headers = ["what", "ms", "beside", "ms", "ratio [95 %]"]
    rows = [
        [r.name, number(r.ours_ms, 1), r.base, number(r.base_ms, 1), str(r.ratio)] for r in results
    ]
    return render(headers, rows, "<><>>")


if __name__ == "__main__":
    end(main)
