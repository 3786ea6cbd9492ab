"""What a bundle costs a process that is new: time to load, time of the first answer, peak memory.

`python -m edgenet.measure.footprint BUNDLE FORMAT` measures itself and prints JSON; `measure`
starts it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from edgenet.errors import EdgenetError
from edgenet.runtime.children import ChildError, run_python, told_json
from edgenet.runtime.loading import Reach

_STEADY_RUNS = 10
# B7 on a driver that computes on the CPU takes minutes; what takes longer hangs.
_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Footprint:
    """The costs of one configuration in a fresh process; None where one is not known.

    `load_ms` is all that comes before a ready session: `import_ms` is the import of the engine,
    `compile_ms` its preparation of the model, and the rest reads the manifest and takes the sha256
    of the files. `first_ms` is the first answer. `rss_mb` is the peak resident memory of the
    process, interpreter and numpy included, and `steady_mb` what it holds after ten answers, both
    in MB (10^6 bytes); not every system tells them.
    """

    load_ms: float | None = None
    import_ms: float | None = None
    compile_ms: float | None = None
    first_ms: float | None = None
    rss_mb: float | None = None
    steady_mb: float | None = None


def measure(
    bundle: str | os.PathLike[str],
    format: str,
    device: str = "cpu",
    threads: int | None = None,
    *,
    engine: str | None = None,
    reach: Reach | None = None,
    batch: int | None = None,
) -> Footprint:
    """Loads and runs a bundle once in a child process.

    A GPU or NPU is tried out, in yet another process, before the clock starts: that is no cost of
    the bundle. `device` must not be "auto", whose vain attempts would count: name what it chose.

    Raises:
        EdgenetError: The child failed; the message is its own.
    """
    command = ["-m", "edgenet.measure.footprint", os.fspath(bundle), format]
    command += ["--device", device]
    command += ["--threads", str(threads)] if threads else []
    command += ["--engine", engine] if engine else []
    command += _options(reach) if reach else []
    command += ["--batch", str(batch)] if batch else []
    try:
        return Footprint(**told_json(run_python(command, _TIMEOUT_S)))
    # Where memory is short, not even a process may begin.
    except (ChildError, OSError) as error:
        told = f"{os.fspath(bundle)} ({format}) failed in a fresh process: {error}"
        raise EdgenetError(told) from error


def _options(reach: Reach) -> list[str]:
    options = ["--delegate", reach.delegate] if reach.delegate else []
    options += [f"--delegate-option={key}={value}" for key, value in reach.options.items()]
    return options + (["--allow-fallback"] if reach.allow_fallback else [])


def main(argv: list[str] | None = None) -> int:
    """Measures this process and prints a `Footprint` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m edgenet.measure.footprint")
    parser.add_argument("bundle")
    parser.add_argument("format")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--engine")
    parser.add_argument("--delegate")
    parser.add_argument("--delegate-option", action="append", default=[])
    parser.add_argument("--allow-fallback", action="store_true")
    parser.add_argument("--batch", type=int)
    args = parser.parse_args(argv)
    try:
        # Engines print on stdout too, and do not always end their lines.
        print("\n" + json.dumps(asdict(_measure_here(args))))
    except EdgenetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _measure_here(args: argparse.Namespace) -> Footprint:
    import numpy as np

    from edgenet.bundle import Bundle
    from edgenet.measure.latency import timed
    from edgenet.runtime import load
    from edgenet.runtime.devices import resolve
    from edgenet.runtime.engines import installed

    options = dict(pair.split("=", 1) for pair in args.delegate_option)
    engines = installed((args.format,), args.engine)
    if args.device != "cpu":
        resolve(args.device, engines, args.delegate, options)
    imported, _ = timed(lambda: import_module(engines[0].module))
    opened, session = timed(
        lambda: load(
            args.bundle,
            args.format,
            args.device,
            args.threads,
            engine=args.engine,
            delegate=args.delegate,
            delegate_options=options,
            allow_fallback=args.allow_fallback,
            batch=args.batch,
        )
    )
    bundle = Bundle.open(args.bundle)
    # Read once more: what vouching for the files took within `load`.
    vouched, _ = timed(lambda: bundle.model_path(bundle.artifact(args.format)))
    image = np.full(session.info.input_shape, 128, np.uint8)
    first, _ = timed(lambda: session.run(image))
    for _ in range(_STEADY_RUNS):
        session.run(image)
    return Footprint(
        load_ms=(imported + opened) / 1e6,
        import_ms=imported / 1e6,
        compile_ms=max(0, opened - vouched) / 1e6,
        first_ms=first / 1e6,
        rss_mb=peak_rss_mb(),
        steady_mb=_status_mb("VmRSS:"),
    )


def peak_rss_mb() -> float | None:
    """The peak resident memory of this process in MB (10^6 bytes), or None on a system without it.

    Linux's VmHWM begins anew with each program; getrusage, the fallback, may still hold the peak of
    the parent.
    """
    found = _status_mb("VmHWM:")
    return _rusage_mb() if found is None else found


def _status_mb(field: str) -> float | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _rusage_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows has none.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, the others in KiB.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
