"""Diagrams are whole SVG documents."""

from __future__ import annotations

from xml.etree import ElementTree

from edgenet.report.diagram import Box, draw

SVG = "{http://www.w3.org/2000/svg}"
BOXES = [
    Box("Conv 3×3", "stem", "112×112×32", "conv", 0.25),
    Box("MBConv6 <5×5>", "stage 2 & more", "56×56×24", "block", 0.75),
    Box("Pool", "pool", "24", "other", 0.0),
]


def test_every_box_is_drawn_with_its_texts_and_joined_to_the_next() -> None:
    root = ElementTree.fromstring(draw("a < b", BOXES))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == [
        "a < b",
        *(part for box in BOXES for part in (box.title, box.detail, box.shape)),
    ]
    assert len(list(root.iter(f"{SVG}line"))) == 2


def test_a_bar_is_as_long_as_the_share() -> None:
    root = ElementTree.fromstring(draw("m", BOXES))
    bars = [float(rect.get("width", 0)) for rect in root.iter(f"{SVG}rect") if rect.get("class")]
    assert bars[1] == 3 * bars[0] > 0
    assert bars[2] == 0


def test_nothing_is_drawn_outside_the_picture() -> None:
    root = ElementTree.fromstring(draw("m", BOXES))
    height = float(root.get("height", 0))
    assert all(
        float(rect.get("y", 0)) + float(rect.get("height", 0)) <= height
        for rect in root.iter(f"{SVG}rect")
    )
