"""ImageNet's names come in the weights' order."""

from __future__ import annotations

import importlib.util

import pytest

from edgenet.models.labels import imagenet_labels

KNOWN = {0: "tench", 1: "goldfish", 151: "Chihuahua", 281: "tabby", 999: "toilet tissue"}


def test_names_are_in_sorted_wordnet_order() -> None:
    labels = imagenet_labels()
    assert labels is not None
    assert len(labels) == 1000
    assert all(isinstance(label, str) and label for label in labels)
    assert {index: labels[index].split(",")[0] for index in KNOWN} == KNOWN


def test_none_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert imagenet_labels() is None
