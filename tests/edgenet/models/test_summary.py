"""The stage table: counted by hand, from the specs, and from Keras, all three equal."""

from __future__ import annotations

import keras
import pytest

from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.models import VARIANTS, compound, variant
from edgenet.models.efficientnet import efficientnet
from edgenet.models.keras_summary import summarize_model
from edgenet.models.summary import ModelSummary, StageRow, summarize

FAST = {"b0", "lite0"}
EVERY_VARIANT = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in VARIANTS
]


def test_b0_reads_as_in_the_papers_table() -> None:
    summary = summarize(variant("b0"))
    shapes = [summary.rows[1].input_shape, *(row.output_shape for row in summary.rows[1:])]
    assert shapes == [
        (224, 224, 3),
        (112, 112, 32),
        (112, 112, 16),
        (56, 56, 24),
        (28, 28, 40),
        (14, 14, 80),
        (14, 14, 112),
        (7, 7, 192),
        (7, 7, 320),
        (7, 7, 1280),
        (1280,),
        (1000,),
    ]
    assert [row.repeats for row in summary.rows[2:9]] == [1, 2, 2, 3, 3, 4, 1]
    assert summary.parameters == 5_330_571
    assert round(summary.macs / 1e9, 2) == 0.39


def test_a_stage_by_hand() -> None:
    stage = summarize(variant("b0")).rows[2]
    depthwise, squeeze, excite, project = 9 * 32, 32 * 8, 8 * 32, 32 * 16
    assert stage == StageRow(
        stage="1",
        operator="MBConv1",
        input_shape=(112, 112, 32),
        output_shape=(112, 112, 16),
        kernel=3,
        stride=1,
        expansion=1,
        se_widths=(8,),
        repeats=1,
        parameters=depthwise + 4 * 32 + squeeze + 8 + excite + 32 + project + 4 * 16,
        macs=112 * 112 * (depthwise + project) + squeeze + excite,
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lite0", 4_694_024), ("lite1", 5_470_344), ("lite2", 6_150_168)],
)
def test_lite_counts_the_published_parameters(name: str, parameters: int) -> None:
    assert summarize(variant(name)).parameters == parameters


@pytest.mark.parametrize("name", EVERY_VARIANT)
def test_specs_and_keras_give_the_same_table(name: str) -> None:
    model = efficientnet(name)
    read = summarize_model(model)
    assert read.rows == summarize(variant(name)).rows
    assert read.parameters == model.count_params()


def test_odd_sizes_and_custom_scaling_too() -> None:
    spec = compound(width=0.4, depth=0.7, resolution=75)
    model = efficientnet(spec, classes=5)
    assert summarize_model(model).rows == summarize(spec, classes=5).rows


def test_headless() -> None:
    model = efficientnet("lite0", include_top=False, input_size=64)
    expected = summarize(variant("lite0"), classes=0, input_size=64)
    assert summarize_model(model).rows == expected.rows
    assert expected.rows[-1].output_shape == (1280,)


def wrapped(kind: str) -> keras.Model:
    """A fine-tuned EfficientNetV2, its backbone open in size, under a head of its own."""
    backbone = keras.applications.EfficientNetV2B0(weights=None, include_top=False)
    head = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(5, activation="softmax"),
    ]
    inputs = keras.Input((96, 96, 3))
    if kind == "sequential":
        return keras.Sequential([inputs, keras.layers.RandomFlip(), backbone, *head])
    x = backbone(keras.layers.RandomFlip()(inputs))
    for layer in head:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_wrapped_v2_is_read_through_its_wrapper(kind: str) -> None:
    model = wrapped(kind)
    summary = summarize_model(model)
    assert [(row.operator, row.repeats) for row in summary.rows] == [
        ("Preprocess", 1),
        ("Conv", 1),
        ("Fused-MBConv1", 1),
        ("Fused-MBConv4", 2),
        ("Fused-MBConv4", 2),
        ("MBConv4", 3),
        ("MBConv6", 5),
        ("MBConv6", 8),
        ("Conv", 1),
        ("Pool", 1),
        ("Dense", 1),
    ]
    assert [row.output_shape for row in summary.rows][1:4] == [
        (48, 48, 32),
        (48, 48, 16),
        (24, 24, 32),
    ]
    assert (summary.rows[2].kernel, summary.rows[3].stride) == (3, 2)
    assert summary.rows[-1].output_shape == (5,)
    assert summary.parameters == model.count_params()


def test_an_open_size_is_the_callers_to_choose() -> None:
    backbone = keras.applications.EfficientNetB0(weights=None, include_top=False)
    assert summarize_model(backbone, input_size=64).input_shape == (64, 64, 3)
    assert summarize_model(backbone).input_shape == (224, 224, 3)


def test_a_fixed_size_is_not() -> None:
    with pytest.raises(UsageError, match="takes 32×32 px only"):
        summarize_model(efficientnet("lite0", input_size=32), input_size=64)


class Subclassed(keras.Model):
    def call(self, x: object) -> object:
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.applications.MobileNetV2(weights=None, alpha=0.35), "EfficientNet family"),
        (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), "batch of images"),
        (Subclassed, "batch of images"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), Subclassed()]), "subclass"),
    ],
    ids=["another family", "no images", "subclassed", "subclassed inside"],
)
def test_another_family_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedModelError, match=message):
        summarize_model(make())


def test_weights_that_are_used_twice_are_counted_once() -> None:
    backbone = efficientnet("lite0", include_top=False, input_size=64)
    shared = keras.layers.Dense(8)
    left, right = keras.layers.Dense(16)(backbone.output), keras.layers.Dense(16)(backbone.output)
    joined = keras.layers.Add()([shared(left), shared(right)])
    model = keras.Model(backbone.input, keras.layers.Dense(4)(joined))
    assert summarize_model(model).parameters == model.count_params()


def test_totals_are_sums() -> None:
    shape = (8, 8, 3)
    row = StageRow("stem", "Conv", shape, shape, parameters=3, macs=5)
    summary = ModelSummary("m", (row, row))
    assert (summary.parameters, summary.macs, summary.input_shape) == (6, 10, shape)
