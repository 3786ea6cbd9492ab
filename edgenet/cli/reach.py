"""The options that say where to run, the same in `run`, `bench` and `check`."""

from __future__ import annotations

import argparse
from typing import Any

from edgenet.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--device",
        metavar="D",
        default="cpu",
        help="cpu, gpu, npu, or auto: a GPU or NPU that runs all of the model, else, without "
        "--delegate, the CPU (default: %(default)s)",
    )
    group.add_argument(
        "--delegate",
        metavar="NAME",
        help="one that edgenet devices lists, or the file of a TFLite delegate library "
        "(default: the best for the device)",
    )
    group.add_argument(
        "--delegate-option",
        metavar="K=V",
        action="append",
        default=[],
        help="an option of the delegate library; may be repeated",
    )
    group.add_argument(
        "--allow-fallback",
        action="store_true",
        help="let operators that the device refuses run on the CPU (default: exit 4)",
    )


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """What the options ask for, as the arguments of `edgenet.load`, `bench` and `check`.

    Raises:
        UsageError: A delegate's option is no K=V, or there is no library for it.
    """
    if args.delegate_option and args.delegate is None:
        raise UsageError("--delegate-option is for a delegate library: name it with --delegate")
    pairs = [option.partition("=") for option in args.delegate_option]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise UsageError(f"--delegate-option {key}: it is K=V, as in device=usb")
    return {
        "device": args.device,
        "delegate": args.delegate,
        "delegate_options": {key: value for key, _, value in pairs},
        "allow_fallback": args.allow_fallback,
    }
