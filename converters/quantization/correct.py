"""Sequential bias correction: an operator's mean error, made by all before it, goes into its bias.

Rounding shifts means: SiLU leaves most values just below zero, all on one side of a level. Operator
by operator, with those before already corrected, the mean of each output channel in int8 is brought
to the mean in float (Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D). Measured
behind the activation that follows, where there is one: what SiLU flattens is no error. A mean that
differs from image to image is no shift, and is shrunk away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from converters.formats.onnx import build
from converters.graph import INPUT, Activation, Doubles, Floats, Graph, Linear, Operator
from converters.quantization.parallel import in_order
from converters.quantization.simulate import Image, runner, simulated
from converters.scheme.parameters import Quantization
from converters.segments import alive

# By name, of one image.
Tensors = Mapping[str, NDArray[Any]]


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
    if len(images) == 1:
        # What is chance cannot be told from it.
        return rounded
    taps = {op.output: _tap(graph, op) for op in graph.operators if _has_means(graph, op)}
    wanted = _float_means(graph, list(taps.values()), held, images)
    model = onnx.shape_inference.infer_shapes(simulated(rounded, held))
    network = onnx.utils.Extractor(model)
    reached: list[Tensors] = [{INPUT: image} for image in images]
    shifts: dict[str, Floats] = {}
    shifted: Mapping[str, Floats] = {}
    sums = {op.output: _sums(op, held) for op in rounded.operators}
    for operator, front in zip(rounded.operators, alive(rounded), strict=True):
        made = operator.output
        if made in taps:
            names, tap = [sums.get(name, name) for name in front], taps[made]
            reached, found = _advanced(network, reached, shifted, names, tap, held.get(tap))
            shifts[made] = _shrunk(wanted[tap] - found).astype(np.float32)
            shifted = {sums[made]: shifts[made]}
    return rounded.with_operators(
        [
            replace(op, bias=op.bias + shifts[op.output])
            if isinstance(op, Linear) and op.output in shifts
            else op
            for op in rounded.operators
        ]
    )


def _has_means(graph: Graph, operator: Operator) -> bool:
    return isinstance(operator, Linear) and not graph.is_vector(operator.output)


def _tap(graph: Graph, operator: Operator) -> str:
    """Where an operator's mean is measured."""
    readers = graph.consumers[operator.output]
    if len(readers) == 1 and isinstance(readers[0], Activation):
        return readers[0].output
    return operator.output


def _sums(operator: Operator, held: Mapping[str, Quantization]) -> str:
    """The name in `simulated` of what an operator computes, before it is cut off and rounded."""
    if isinstance(operator, Linear) and operator.function != "linear":
        return f"{operator.output}/linear"
    return f"{operator.output}/exact" if operator.output in held else operator.output


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


def _mean(values: Floats, quantization: Quantization | None) -> Doubles:
    """By channel, (channels,), of what the levels reach: an outlier's loss is no shift either."""
    if quantization is not None:
        values = np.clip(values, quantization.low, quantization.high)
    mean: Doubles = values.reshape(values.shape[1], -1).mean(axis=1, dtype=np.float64)
    return mean


def _advanced(
    network: onnx.utils.Extractor,
    reached: Sequence[Tensors],
    shifted: Mapping[str, Floats],
    front: Sequence[str],
    tap: str,
    quantization: Quantization | None,
) -> tuple[list[Tensors], Doubles]:
    """The tensors of the next front for each image, and the means of the tap: (images, channels).

    Args:
        network: Simulates int8.
        reached: The tensors of the last front, by image.
        shifted: What has been added to the biases of some of those since they were computed,
            (channels,) by name.
        front: The names of the tensors to go on from.
        tap: The tensor whose means are measured.
        quantization: How the tap is held, if it is.
    """
    ahead = [name for name in front if name not in reached[0]]
    run = runner(network.extract_model(list(reached[0]), [*ahead, tap]), [*ahead, tap])

    def advance(values: Tensors) -> tuple[Tensors, Doubles]:
        values = {**values, **{n: values[n] + s[:, None, None] for n, s in shifted.items()}}
        found = run(values)
        advanced = {name: found[name] if name in found else values[name] for name in front}
        return advanced, _mean(found[tap], quantization)

    advanced, means = zip(*in_order(advance, reached), strict=True)
    return list(advanced), np.array(means)


def _shrunk(errors: Doubles) -> Doubles:
    """The mean over (images, channels), less the more of it is chance: James and Stein 1961."""
    mean = errors.mean(axis=0)
    chance = errors.var(axis=0, ddof=1) / len(errors)
    kept: Doubles = mean * np.maximum(0, 1 - chance / np.maximum(mean**2, np.finfo(float).tiny))
    return kept
