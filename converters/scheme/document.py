"""Reading a recipe's JSON, each key of which is checked, since people edit it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from edgenet.errors import UsageError

Range = tuple[float, float]
# By kind and tensor, gains or what else a kind takes; see `converters.quantization.rewrite`.
Rewrites = Mapping[str, Mapping[str, tuple[float, ...]]]

WEIGHTS = {"bits": 8, "granularity": "channel", "symmetric": True}
"""What is the same of the weights in every recipe."""
_ACTIVATION_BITS = (8, 16, 32)


def fields_of(document: Any) -> dict[str, Any]:
    """The fields of a `converters.scheme.recipe.Recipe`, by name, from its JSON.

    Raises:
        UsageError: A key is missing or unknown, or its value is not one that a recipe has; the
            message names the key.
    """
    top = _entries(
        document,
        "",
        ("activations", "weights", "ranges"),
        ("float_operators", "float_operators_in", "rewrites"),
    )
    return {
        **_of_activations(top["activations"]),
        **_of_weights(top["weights"]),
        "ranges": _ranges(top["ranges"]),
        "float_operators": _names(top.get("float_operators", []), "float_operators"),
        "float_operators_in": _names_in(top.get("float_operators_in", {})),
        "rewrites": _rewrites(top.get("rewrites", {})),
    }


def _of_activations(value: Any) -> dict[str, Any]:
    activations = _entries(value, "activations", ("bits", "granularity", "rule"), ())
    _require(activations["granularity"] == "tensor", "activations.granularity", '"tensor"')
    bits = activations["bits"]
    _require(type(bits) is int and bits in _ACTIVATION_BITS, "activations.bits", "8, 16 or 32")
    return {"activation_bits": bits, "rule": _text(activations["rule"], "activations.rule")}


def _of_weights(value: Any) -> dict[str, Any]:
    weights = _entries(value, "weights", (*WEIGHTS, "bias_correction", "rounding"), ())
    corrected = weights["bias_correction"]
    _require(isinstance(corrected, bool), "weights.bias_correction", "true or false")
    for key, wanted in WEIGHTS.items():
        same = weights[key] == wanted and type(weights[key]) is type(wanted)
        _require(same, f"weights.{key}", repr(wanted))
    return {"corrected": corrected, "rounding": _text(weights["rounding"], "weights.rounding")}


def _entries(
    value: Any, where: str, needed: tuple[str, ...], optional: tuple[str, ...]
) -> Mapping[str, Any]:
    _require(isinstance(value, Mapping), where, "an object")
    prefix = f"{where}." if where else ""
    for key in value:
        _require(key in needed or key in optional, f"{prefix}{key}", "left out: it is unknown")
    for key in needed:
        _require(key in value, f"{prefix}{key}", "there")
    found: Mapping[str, Any] = value
    return found


def _ranges(value: Any) -> dict[str, Range]:
    _require(isinstance(value, Mapping), "ranges", "an object")
    for name, ends in value.items():
        _require(_is_range(ends), f"ranges.{name}", "[low, high], two finite numbers in order")
    return {name: (float(low), float(high)) for name, (low, high) in value.items()}


def _is_range(ends: Any) -> bool:
    return (
        isinstance(ends, list | tuple)
        and len(ends) == 2
        and all(isinstance(end, float | int) and isfinite(end) for end in ends)
        and ends[0] <= ends[1]
    )


def _rewrites(value: Any) -> Rewrites:
    _require(isinstance(value, Mapping), "rewrites", "an object")
    for name, made in value.items():
        _require(isinstance(made, Mapping), f"rewrites.{name}", "an object")
        for tensor, values in made.items():
            good = isinstance(values, list) and all(map(_is_positive, values))
            _require(good, f"rewrites.{name}.{tensor}", "a list of numbers above zero")
    return {
        name: {tensor: tuple(map(float, values)) for tensor, values in made.items()}
        for name, made in value.items()
    }


def _is_positive(value: Any) -> bool:
    return type(value) in (float, int) and isfinite(value) and value > 0


def _names(value: Any, key: str) -> frozenset[str]:
    good = isinstance(value, list) and all(isinstance(name, str) for name in value)
    _require(good, key, "a list of names")
    return frozenset(value)


def _names_in(value: Any) -> dict[str, frozenset[str]]:
    key = "float_operators_in"
    _require(isinstance(value, Mapping), key, "an object")
    return {format: _names(names, f"{key}.{format}") for format, names in value.items()}


def _text(value: Any, key: str) -> str:
    _require(isinstance(value, str), key, "text")
    return str(value)


def _require(good: bool, key: str, wanted: str) -> None:
    if not good:
        what = f"the recipe's {key}" if key else "the recipe"
        raise UsageError(f"{what} must be {wanted}: take the recipe of a bundle's manifest.json")
