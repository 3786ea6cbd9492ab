"""The family as data: rounding laws, published tables, compound scaling."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.errors import UsageError
from edgenet.models import VARIANTS, StageSpec, compound, variant
from edgenet.models.specs import BlockSpec, round_channels, round_repeats

RESOLUTIONS = {
    "b": (224, 240, 260, 300, 380, 456, 528, 600),
    "lite": (224, 240, 260, 280, 300),
}
DROPOUTS = {
    "b": (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5),
    "lite": (0.2, 0.2, 0.3, 0.3, 0.3),
}
WIDTHS = st.floats(0.25, 4)


@given(st.integers(8, 2048), WIDTHS)
def test_rounded_channels_are_a_multiple_of_8_and_lose_under_a_tenth(
    channels: int, width: float
) -> None:
    rounded = round_channels(channels, width)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels * width


@given(st.integers(8, 2048), WIDTHS)
def test_rounded_channels_stay_within_one_step(channels: int, width: float) -> None:
    assert abs(round_channels(channels, width) - channels * width) <= 8


@given(st.integers(1, 256).map(lambda channels: 8 * channels))
def test_rounding_keeps_what_is_round(channels: int) -> None:
    assert round_channels(channels, 1.0) == channels


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(32, 1.1, 32), (24, 1.4, 32), (80, 1.2, 96), (10, 1.0, 16)]
)
def test_round_channels_by_hand(channels: int, width: float, expected: int) -> None:
    assert round_channels(channels, width) == expected


@given(st.integers(1, 4), st.floats(0.1, 4))
def test_repeats_round_up(repeats: int, depth: float) -> None:
    stage = StageSpec(kernel=3, repeats=repeats, channels=16, expansion=1, stride=1)
    scaled = round_repeats(stage, depth)
    assert scaled - 1 < repeats * depth <= scaled


@pytest.mark.parametrize("family", RESOLUTIONS)
def test_published_resolutions_and_dropouts(family: str) -> None:
    specs = [spec for spec in VARIANTS.values() if spec.family == family]
    assert [spec.name for spec in specs] == [f"{family}{index}" for index in range(len(specs))]
    assert tuple(spec.resolution for spec in specs) == RESOLUTIONS[family]
    assert tuple(spec.dropout for spec in specs) == DROPOUTS[family]


def test_a_block_of_b2_by_hand() -> None:
    spec = variant("b2")
    block = next(block for block in spec.blocks if block.name == "block6b")
    assert block == BlockSpec(
        name="block6b",
        stage=6,
        kernel=5,
        stride=1,
        expansion=6,
        in_channels=208,
        out_channels=208,
        se_width=52,
        drop_rate=0.2 * 17 / 23,
    )


def test_the_squeeze_is_sized_by_the_blocks_input() -> None:
    first, second = (block for block in variant("b0").blocks if block.stage == 2)
    assert (first.in_channels, first.se_width) == (16, 4)
    assert (second.in_channels, second.se_width) == (24, 6)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("lite")])
def test_lite_keeps_stem_head_and_end_stages(name: str) -> None:
    spec = variant(name)
    assert (spec.stem_channels, spec.head_channels) == (32, 1280)
    assert (spec.repeats[0], spec.repeats[-1]) == (1, 1)
    assert not any(block.se_width for block in spec.blocks)
    assert spec.activation == "relu6"


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_blocks_chain_and_drop_connect_grows(spec) -> None:  # type: ignore[no-untyped-def]
    blocks = spec.blocks
    assert blocks[0].in_channels == spec.stem_channels
    for before, after in itertools.pairwise(blocks):
        assert before.out_channels == after.in_channels
        assert before.drop_rate < after.drop_rate < spec.drop_connect
    assert len({block.name for block in blocks}) == len(blocks) == sum(spec.repeats)


def test_crop_fraction_is_the_references() -> None:
    assert variant("b0").crop_fraction == 0.875


def test_an_unknown_variant_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'b8'.*b0, b1.*lite4"):
        variant("b8")


def test_variant_ignores_case() -> None:
    assert variant("Lite0") is VARIANTS["lite0"]


def test_phi_0_is_the_baseline() -> None:
    assert compound(0).blocks == variant("b0").blocks
    assert compound(0).resolution == 224


def test_phi_scales_by_the_papers_bases() -> None:
    spec = compound(2)
    assert (spec.depth, spec.width) == (pytest.approx(1.44), pytest.approx(1.21))
    assert spec.resolution == 296  # 224 · 1.15² = 296.24


@given(st.floats(0, 9))
def test_phi_makes_a_valid_network_that_costs_no_less(phi: float) -> None:
    from edgenet.models.summary import summarize

    spec = compound(phi)
    assert spec.resolution % 8 == 0
    assert summarize(spec).macs >= summarize(compound(0)).macs


def test_factors_replace_what_phi_says() -> None:
    spec = compound(1, width=0.5, resolution=96)
    assert (spec.width, spec.depth, spec.resolution) == (0.5, 1.2, 96)


@pytest.mark.parametrize(
    "factors", [{"width": 0.0}, {"depth": -1.0}, {"resolution": 16}, {"depth": 7.0}]
)
def test_impossible_factors_are_refused(factors: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        compound(**factors)  # type: ignore[arg-type]


def test_the_data_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgenet.models, edgenet.models.summary, edgenet.models.pretrained; "
        "assert not {'numpy', 'keras', 'tensorflow'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
