"""Sequential bias correction: an operator's mean error, made by all before it, goes into its bias.

Rounding shifts means: SiLU leaves most values just below zero, all on one side of a level. Operator
by operator, with those before already corrected, the mean of each output channel in int8 is brought
to the mean in float (Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D). Measured
behind the activation that follows, where there is one: what SiLU flattens is no error. A mean that
differs from image to image is no shift, and is shrunk away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from converters.formats.onnx import build
from converters.graph import INPUT, Activation, Floats, Graph, Linear, Operator
from converters.quantization.parallel import in_order
from converters.quantization.parameters import Quantization
from converters.quantization.roles import is_vector
from converters.quantization.segments import segments
from converters.quantization.simulate import Image, runner, simulated

Doubles = NDArray[np.float64]


def correct_biases(
    graph: Graph, rounded: Graph, held: Mapping[str, Quantization], images: Sequence[Image]
) -> Graph:
    """`rounded` with biases that bring the mean of every map to that of `graph`.

    Vectors (squeeze-and-excite, logits) are left alone: one value an image is no mean.

    Args:
        graph: In float.
        rounded: The same operators with their weights on the levels of int8.
        held: What is held in levels, and how.
        images: Batches of 1, a few tens; what is alive of all of them is held at once.
    """
    taps = {op.name: _tap(graph, op) for op in graph.operators if _has_means(graph, op)}
    wanted = _float_means(graph, list(taps.values()), held, images)
    model = onnx.shape_inference.infer_shapes(simulated(rounded, held))
    network = onnx.utils.Extractor(model)
    alive: list[Any] = list(images)
    biases: dict[str, Floats] = {}
    for segment in segments(rounded):
        for operator in segment.operators:
            if operator.name in taps:
                tap = taps[operator.name]
                found = _means(_run(network, segment.source, tap, alive), held.get(tap))
                shift = _shrunk(wanted[tap] - found)
                biases[operator.name] = _shift_bias(network, f"{operator.name}/bias", shift)
        if len(biases) == len(taps):
            break
        alive = list(_run(network, segment.source, segment.result, alive))
    return rounded.with_operators(
        [
            replace(op, bias=biases[op.name])
            if isinstance(op, Linear) and op.name in biases
            else op
            for op in rounded.operators
        ]
    )


def _has_means(graph: Graph, operator: Operator) -> bool:
    return isinstance(operator, Linear) and not is_vector(graph, operator.output)


def _tap(graph: Graph, operator: Operator) -> str:
    """Where an operator's mean is measured."""
    readers = graph.consumers[operator.output]
    if len(readers) == 1 and isinstance(readers[0], Activation):
        return readers[0].output
    return operator.output


def _float_means(
    graph: Graph,
    tensors: Sequence[str],
    held: Mapping[str, Quantization],
    images: Sequence[Image],
) -> dict[str, Doubles]:
    run = runner(build(graph, "fp32", outputs=tensors), tensors)

    def means(image: Image) -> list[Doubles]:
        values = run({INPUT: image})
        return [_mean(values[name], held.get(name)) for name in tensors]

    by_image = list(in_order(means, images))
    return {name: np.array([row[i] for row in by_image]) for i, name in enumerate(tensors)}


def _means(outputs: Iterable[Floats], quantization: Quantization | None) -> Doubles:
    return np.array([_mean(values, quantization) for values in outputs])


def _mean(values: Floats, quantization: Quantization | None) -> Doubles:
    """By channel, (channels,), of what the levels reach: an outlier's loss is no shift either."""
    if quantization is not None:
        values = np.clip(values, quantization.low, quantization.high)
    mean: Doubles = values.reshape(values.shape[1], -1).mean(axis=1, dtype=np.float64)
    return mean


def _run(
    network: onnx.utils.Extractor, source: str, result: str, held: Sequence[Any]
) -> Iterator[Floats]:
    run = runner(network.extract_model([source], [result]), [result])
    return in_order(lambda values: run({source: values})[result], held)


def _shrunk(errors: Doubles) -> Doubles:
    """The mean over (images, channels), less the more of it is chance: James and Stein 1961."""
    mean = errors.mean(axis=0)
    if len(errors) == 1:
        return np.zeros_like(mean)
    chance = errors.var(axis=0, ddof=1) / len(errors)
    kept: Doubles = mean * np.maximum(0, 1 - chance / np.maximum(mean**2, np.finfo(float).tiny))
    return kept


def _shift_bias(network: onnx.utils.Extractor, name: str, shift: Doubles) -> Floats:
    constant = network.initializers[name]
    bias = (numpy_helper.to_array(constant) + shift).astype(np.float32)
    constant.CopyFrom(numpy_helper.from_array(bias, name))
    return bias
