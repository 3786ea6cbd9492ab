"""What a recipe's JSON may not hold is refused by name."""

import re
from typing import Any

import pytest

from converters.scheme.document import fields_of
from converters.scheme.recipe import Recipe
from edgenet.errors import UsageError


def changed(path: str, value: object) -> dict[str, Any]:
    """A good recipe's JSON with one value, by its dotted key, set to another; None removes it."""
    recipe = Recipe(
        *("by hand", {"t": (0.0, 1.0)}),
        float_operators=frozenset({"t"}),
        float_operators_in={"onnx": frozenset()},
        rewrites={"silu": {"t": (1.0, 2.0)}},
    )
    document = recipe.to_json()
    *sections, key = path.split(".")
    target = document
    for section in sections:
        target = target[section]
    if value is None:
        del target[key]
    else:
        target[key] = value
    return document


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "red"),
        ("ranges", None),
        ("ranges", [1, 2]),
        ("ranges.t", [1.0]),
        ("ranges.t", [2.0, 1.0]),
        ("ranges.t", 1.0),
        ("ranges.t", [0.0, float("nan")]),
        ("ranges.t", [0.0, float("inf")]),
        ("ranges.t", ["0", "1"]),
        ("activations", 8),
        ("activations.bits", 4),
        ("activations.bits", True),
        ("activations.bits", [8]),
        ("activations.rule", 1),
        ("activations.granularity", "channel"),
        ("activations.signed", True),
        ("weights.bits", 4),
        ("weights.symmetric", 1),
        ("weights.rounding", None),
        ("weights.rounding", 3),
        ("float_operators", "t"),
        ("float_operators", [1]),
        ("float_operators_in", ["onnx"]),
        ("float_operators_in.onnx", "t"),
        ("weights.bias_correction", None),
        ("weights.bias_correction", 1),
        ("rewrites", ["silu"]),
        ("rewrites.silu", [1.0]),
        ("rewrites.silu.t", 2.0),
        ("rewrites.silu.t", [1.0, 0.0]),
        ("rewrites.silu.t", [-1.0]),
        ("rewrites.silu.t", [True]),
        ("rewrites.silu.t", [float("inf")]),
    ],
)
def test_a_wrong_recipe_is_refused_by_the_name_of_its_key(key, value):
    with pytest.raises(UsageError, match=re.escape(f"the recipe's {key} must be ")):
        fields_of(changed(key, value))


@pytest.mark.parametrize("document", [None, [], "recipe", 3])
def test_what_is_no_object_is_no_recipe(document):
    with pytest.raises(UsageError, match="the recipe must be an object"):
        fields_of(document)
