"""int8 simulated in the float network: chosen tensors pass through their levels, the rest is exact.

It tells what rounding one tensor costs the logits, whatever a format's own arrangement is, and
agrees with the int8 kernels up to ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from converters.formats.onnx import build
from converters.graph import INPUT, Floats, Graph, is_silu
from converters.quantization.parallel import in_order
from converters.scheme.parameters import Quantization, sigmoid_like
from edgenet.measure.accuracy import standardized

Image = NDArray[np.uint8]
Runner = Callable[[Mapping[str, NDArray[np.generic]]], dict[str, Floats]]


def simulated(
    graph: Graph, held: Mapping[str, Quantization], outputs: Sequence[str] | None = None
) -> onnx.ModelProto:
    """The float model with these tensors, and the sigmoids inside a SiLU among them, in levels."""
    return replaced(
        build(graph, "fp32", outputs=outputs),
        graph,
        held,
        lambda name, owner: rounding(name, f"{name}/exact", name),
    )


def replaced(
    model: onnx.ModelProto,
    graph: Graph,
    held: Mapping[str, Quantization],
    make: Callable[[str, str], Iterable[onnx.NodeProto]],
) -> onnx.ModelProto:
    """A float model with nodes made behind each held tensor, from `TENSOR/exact` to `TENSOR`.

    The sigmoid inside a held SiLU is held, too. `make` gets the name of a tensor, and that of the
    held one which it is or belongs to; the scales and zero points are constants of the model.

    Args:
        model: Of a graph or of a part of it; left as it is.
        graph: The whole graph.
        held: How tensors are held; those that the model does not make are passed over.
        make: Makes the nodes.
    """
    levels = {name: (name, quantization) for name, quantization in held.items()}
    for operator in graph.operators:
        if is_silu(operator) and operator.output in held:
            name = operator.output
            levels[f"{name}/sigmoid"] = (name, sigmoid_like(held[name]))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    for node in model.graph.node:
        tensor = node.output[0]
        copy.graph.node.append(node)
        if tensor in levels:
            owner, quantization = levels[tensor]
            copy.graph.node[-1].output[0] = f"{tensor}/exact"
            copy.graph.initializer.extend(_parameters(tensor, quantization))
            copy.graph.node.extend(make(tensor, owner))
    return copy


def _parameters(name: str, quantization: Quantization) -> Iterator[onnx.TensorProto]:
    scale, zero_point = np.float32(quantization.scale), quantization.zero_point
    yield numpy_helper.from_array(np.asarray(scale), f"{name}/scale")
    zeros = np.asarray(quantization.dtype(zero_point))
    yield numpy_helper.from_array(zeros, f"{name}/zero_point")


def rounding(name: str, source: str, result: str) -> Sequence[onnx.NodeProto]:
    """The nodes that take a value through the levels of the tensor `name`."""
    levels, parameters = f"{result}/quantized", [f"{name}/scale", f"{name}/zero_point"]
    return (
        helper.make_node("QuantizeLinear", [source, *parameters], [levels], name=levels),
        helper.make_node(
            "DequantizeLinear", [levels, *parameters], [result], name=f"{result}/held"
        ),
    )


def runner(model: onnx.ModelProto, outputs: Sequence[str]) -> Runner:
    """A function from the model's inputs to these outputs, maps channels first, for any thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Both keep what the largest run took: for all tensors of B7 they double the memory.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    # Or it would round float weights between two quantizers as well, by tensor.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda feeds: dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True))


def logits(model: onnx.ModelProto, images: Iterable[Image]) -> Floats:
    """What a model, whose first output is the answer, makes of images, one batch each.

    Returns:
        (images, classes), or of a regression (images, values).
    """
    answer = model.graph.output[0].name
    run = runner(model, [answer])
    return np.concatenate(list(in_order(lambda image: run({INPUT: image})[answer], images)))


def noise(answers: Floats, reference: Floats, values: bool = False) -> float:
    """The energy of the difference as a share of the signal's, of a typical image.

    The signal is what tells images apart: the variance of the reference over them. What is the same
    for all, as the bias of a frequent class is, hides no noise; of a single image all is signal.
    That of a typical image is the square of the mean of the images' amplitudes: in proportion to
    an image's amplitude its first answer changes, while among a few the energy would be that of the
    one with the most.

    Args:
        answers: Logits, images × classes, or a regression's values.
        reference: Theirs in float.
        values: Whether they are values: each is then taken as a share of its standard deviation
            over the images, for its unit is no signal.
    """
    if values:
        answers, reference = (
            standardized(those, reference).astype(np.float32) for those in (answers, reference)
        )
    amplitudes = np.sqrt(np.square(answers - reference).mean(axis=1))
    energy = _energy(reference)
    # Beside a reference without energy any difference is noise.
    return float(np.square(amplitudes.mean()) / energy) if energy else float(amplitudes.any())


def _energy(reference: Floats) -> float:
    if len(reference) == 1:
        return float(np.square(reference).mean())
    return float(reference.var(axis=0, dtype=np.float64, ddof=1).mean())
