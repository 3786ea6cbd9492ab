"""TFLite for NPUs that know integers alone (Arm Ethos-U): levels from the pixels to the outputs.

Pixels go from uint8 straight to int8, with the one zero that `converters.npu.pixels.centred` gives
them. `lower` writes the file that interpreters run, whose last operators hand out floats;
`integer_part` is the same operators without those, which is what a compiler gets.
"""

from __future__ import annotations

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from converters.formats.tflite import Builder
from converters.graph import INPUT, Affine, Graph
from converters.npu.pixels import without_probabilities
from converters.scheme.recipe import Recipe, exact_shift

_QUANTIZE = schema.BuiltinOperator.QUANTIZE


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.tflite; see `converters.formats.lower`."""
    path = folder / "model.tflite"
    path.write_bytes(_built(_LevelsBuilder(graph, precision, recipe)))
    return (path,)


def integer_part(graph: Graph, precision: str, recipe: Recipe) -> bytes:
    """The file up to the levels of logits and features; probabilities are left to the program."""
    return _built(_IntegerBuilder(without_probabilities(graph), precision, recipe))


def _built(builder: Builder) -> bytes:
    for operator in builder.graph.operators:
        builder.add(operator)
    return builder.finish()


class _LevelsBuilder(Builder):
    integers = True

    def _normalized(self, operator: Affine) -> None:
        if exact_shift(operator) is None or not self.quantizations:
            super()._normalized(operator)
            return
        self.emit(_QUANTIZE, [self.input], self.tensor(operator.output, True))


class _IntegerBuilder(_LevelsBuilder):
    def finish(self) -> bytes:
        outputs = {name: self.forms[name, True] for name in self.graph.outputs}
        return self.file.finish({INPUT: self.input}, outputs)
