"""The targets of `convert --target`: what a network must be for the machine that will run it.

A target decides what the user leaves open: the precision, the formats, the lowering of each and
what its input holds; and it names the compiler whose file joins the bundle. A new one is an entry
in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from converters.formats import formats_of
from converters.graph import Graph, is_silu
from converters.scheme.recipe import CALIBRATED
from edgenet.errors import UsageError
from edgenet.runtime.qnn import SOCS

# Vela's own names, by accelerator and MACs a cycle (`vela --help`).
_ETHOS_U = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)


@dataclass(frozen=True)
class Target:
    """Where a network will run.

    Attributes:
        name: What `--target` calls it.
        formats: Those that run there, the best first.
        precisions: Those that it computes in; the first is taken for networks with ReLU6.
        for_silu: The precision taken for networks with SiLU, whose outliers 8 bits hold badly.
        activations: How its kernels hold activations, in words.
        pixels: What the input holds; sessions cast to it.
        lowerings: The module that writes a format, where it is not the format's own.
        centres_pixels: Whether one whole number must be the zero of all pixels.
        integers: Whether no operator may compute in float.
        compiler: The module whose `compile_for` adds a file to the bundle, or "".
        devices: What the compiler calls the devices to compile for.
    """

    name: str
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    for_silu: str
    activations: str
    pixels: Literal["uint8", "float32"] = "uint8"
    lowerings: Mapping[str, str] = field(default_factory=dict)
    centres_pixels: bool = False
    integers: bool = False
    compiler: str = ""
    devices: tuple[str, ...] = ()

    def precision_for(self, graph: Graph) -> str:
        """The precision that a network gets if the user names none."""
        silu = any(map(is_silu, graph.operators))
        return self.for_silu if silu else self.precisions[0]

    def require_precision(self, precision: str) -> None:
        """Refuses what the target does not compute in.

        Raises:
            UsageError: It names what it does.
        """
        if precision not in self.precisions:
            raise UsageError(
                f"{self.name} does not run {precision}: leave the precision to --target, or take "
                f"--precision {' or '.join(self.precisions)}"
            )

    def require_formats(self, formats: tuple[str, ...]) -> None:
        """Refuses formats that nothing on the target runs.

        Raises:
            UsageError: It names those that run there.
        """
        others = [format for format in formats if format not in self.formats]
        if others:
            raise UsageError(
                f"{self.name} runs no {', '.join(others)} file: leave --to off, or take --to "
                f"{','.join(self.formats)}"
            )

    def formats_for(self, precision: str) -> tuple[str, ...]:
        """The formats to write in a precision."""
        return tuple(format for format in self.formats if format in formats_of(precision))

    def to_json(self, precision: str) -> dict[str, Any]:
        """As the manifest of a bundle in that precision stores it."""
        quantized = precision in CALIBRATED
        return {"name": self.name, "activations": self.activations if quantized else "float"}


def _qualcomm(name: str, socs: tuple[str, ...]) -> Target:
    return Target(
        name,
        formats=("onnx",),
        precisions=("int8", "w8a16"),
        for_silu="w8a16",
        activations="uint8 or uint16",
        lowerings={"onnx": "converters.npu.htp"},
        integers=True,
        compiler="converters.npu.qualcomm",
        devices=socs,
    )


def _ethos_u(name: str) -> Target:
    return Target(
        name,
        formats=("tflite",),
        precisions=("int8",),
        for_silu="int8",
        activations="int8",
        lowerings={"tflite": "converters.npu.integer_tflite"},
        centres_pixels=True,
        integers=True,
        compiler="converters.npu.ethosu",
        devices=(name,),
    )


_ALL: tuple[Target, ...] = (
    Target(
        "cpu-x86",
        formats=("onnx", "openvino", "tflite"),
        # int8-mixed is what --max-drop makes of int8.
        precisions=("int8", "int8-mixed", "fp32", "fp16", "bf16", "w8", "dynamic"),
        for_silu="int8",
        activations="uint8",
    ),
    Target(
        "cpu-arm",
        formats=("tflite", "onnx"),
        precisions=("int8", "int8-mixed", "fp32", "fp16", "w8", "dynamic"),
        for_silu="int8",
        activations="int8 in tflite, uint8 in onnx",
    ),
    Target(
        "gpu",
        formats=("tflite", "onnx"),
        precisions=("fp16", "fp32"),
        for_silu="fp16",
        activations="float",
        pixels="float32",
    ),
    Target(
        "intel-npu",
        formats=("tflite", "openvino"),
        precisions=("int8", "fp16", "fp32"),
        for_silu="int8",
        activations="int8",
    ),
    _qualcomm("qualcomm", tuple(SOCS)),
    *(_qualcomm(f"qualcomm:{soc}", (soc,)) for soc in SOCS),
    *(_ethos_u(name) for name in _ETHOS_U),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}


def target_named(name: str) -> Target:
    """A target by its name.

    Raises:
        UsageError: There is none of that name; the message lists them.
    """
    for known, target in TARGETS.items():
        if known.lower() == name.lower():
            return target
    raise UsageError(f"no target is called {name!r}: take one of {', '.join(TARGETS)}")
