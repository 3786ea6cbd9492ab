"""Whatever a network ends in, bisection finds what makes its answers, or says what stands there."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from converters.bisection.compare import logits
from converters.graph import GlobalMaximum, Graph
from converters.passes import simplify
from edgenet.errors import UsageError
from tests.converters.bisection.conftest import FORMATS, Frozen, opened
from tests.converters.bisection.test_networks import decibels
from tests.converters.graphs import ENGINES, Chain, recipe_of
from tests.networks import SIZE

CLASSES = 5


def _summed(chain: Chain) -> Chain:
    """As a dense layer on the mean and the maximum side by side comes apart."""
    source = chain.last
    maxima = chain.pool(kind=GlobalMaximum).dense(CLASSES).last
    chain.last = source
    return chain.pool().dense(CLASSES).plus(maxima)


ENDS: dict[str, Callable[[Chain], Chain]] = {
    "the mean of the map itself": lambda chain: chain.pool(),
    "the mean of a convolution": lambda chain: chain.convolution(CLASSES).pool(),
    "its maximum": lambda chain: chain.convolution(CLASSES).pool(kind=GlobalMaximum),
    "a convolution, reshaped": lambda chain: (
        chain.pool(keep=True).convolution(CLASSES).reshape(CLASSES)
    ),
    "the kept mean of a convolution, reshaped": lambda chain: (
        chain.convolution(CLASSES).pool(keep=True).reshape(CLASSES)
    ),
    "a map, reshaped": lambda chain: chain.convolution(2, (3, 3), (8, 8), function="relu").reshape(
        2 * (SIZE // 16) ** 2
    ),
    "a sum": _summed,
    "a sum and ReLU": lambda chain: _summed(chain).activation("relu"),
    "a sum and ReLU6": lambda chain: _summed(chain).activation("relu6"),
    "a sum and ReLU that leaks": lambda chain: _summed(chain).leaky_relu(),
    "tanh": lambda chain: chain.pool().dense(CLASSES).activation("tanh"),
}


@pytest.fixture(scope="module")
def ending(textures, tmp_path_factory) -> Callable[[str], Frozen]:
    """A small network by its end."""
    made: dict[str, Frozen] = {}

    def of(name: str) -> Frozen:
        if name not in made:
            chain = Chain(SIZE, SIZE).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
            graph: Graph = simplify(ENDS[name](chain).graph())
            made[name] = Frozen(graph, recipe_of(graph, textures), tmp_path_factory.mktemp("end"))
        return made[name]

    return of


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ENDS)
def test_it_answers_as_its_file_does_and_all_in_float_as_its_reference(
    ending, textures, name, format
):
    frozen = ending(name)
    shipped = ENGINES[format](frozen.file(format, "int8"), textures, ("logits",))["logits"]
    for reference in FORMATS:
        network, theirs = frozen.pair(format, reference)
        assert network.classes == theirs.classes == shipped.shape[1]
        assert decibels(shipped, logits(network, textures)) > 60
        truth = logits(theirs, textures)
        assert decibels(truth, shipped) < 60
        assert decibels(truth, logits(network, textures, network.quantized)) > 70


def test_an_end_that_is_no_operator_of_images_is_told(ending, tmp_path):
    model = onnx.load(ending("tanh").file("onnx", "fp32"))
    graph = model.graph
    graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 1]))
    onnx.save(model, tmp_path / "best.onnx")
    said = "output 'best' is made by ArgMax, .*: export the file with its logits"
    with pytest.raises(UsageError, match=said):
        opened("onnx", tmp_path / "best.onnx")
