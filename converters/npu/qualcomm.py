"""Qualcomm's HTP: ONNX Runtime's QNN provider compiles the ONNX file to a context binary.

The binary is the network in the NPU's own form; Qualcomm's libraries stay where the registry put
them. It is made in a child process, which is this module run with a model, an output and a SoC.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import onnx

from converters.npu.child import require_compiler, run_compiler
from converters.npu.job import Job, Made
from edgenet.errors import EdgenetError
from edgenet.runtime.onnx import FATAL_ONLY
from edgenet.runtime.onnx_plugin import register
from edgenet.runtime.qnn import MODULE, PROVIDER, provider_options

_PACKAGE = "onnxruntime-qnn"
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_CONTEXT = "EPContext"
_NAMED = 3


def require() -> None:
    """Says what to install, before the work that would be for nothing.

    Raises:
        MissingExtraError: The provider is not installed.
    """
    require_compiler("compiling for Qualcomm", MODULE, "npu-qualcomm")


def compile_for(job: Job, soc: str) -> Made:
    """Compiles for one SoC, "SM8650" for example.

    Raises:
        EdgenetError: The compiler failed, or left an operator to the CPU.
    """
    path = job.folder / f"{soc}.onnx"
    run_compiler("QNN", "converters.npu.qualcomm", [str(job.model), str(path), soc])
    left = [node for node in onnx.load(path).graph.node if node.op_type != _CONTEXT]
    if left:
        names = ", ".join(f"{node.op_type} {node.name}" for node in left[:_NAMED])
        raise EdgenetError(
            f"{soc} does not run all of this network ({names}): convert without --target"
        )
    nodes = [n for n in onnx.load(job.model).graph.node if n.op_type not in _QUANTIZERS]
    report = {"operators": {"npu": len(nodes), "cpu": 0}}
    return Made(path, f"{_PACKAGE} {version(_PACKAGE)}", report)


def main(model: str, output: str, soc: str) -> None:
    """Compiles in this process; ONNX Runtime raises what goes wrong."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    device, *_ = register(onnxruntime, PROVIDER, MODULE)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.add_provider_for_devices([device], provider_options(soc))
    # From memory: the names inside a context depend on the path of a model that has one.
    compiler = onnxruntime.ModelCompiler(
        options, Path(model).read_bytes(), embed_compiled_data_into_model=True
    )
    compiler.compile_to_file(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
