"""Images on which a network explodes: left in, they would set every range and leave no levels.

Fine-tuned on little, with batch statistics that lag behind its weights, a network answers an image
in fifty with maps a hundred times as loud as for all others. Such images say nothing of the others'
ranges, weights or biases, while photos that a network is at ease with hardly differ.
"""

from __future__ import annotations

import numpy as np

from converters.formats.onnx import build
from converters.graph import INPUT, Floats, Graph
from converters.quantization.images import Images
from converters.quantization.parallel import in_order
from converters.quantization.simulate import Image, runner
from converters.report import Report
from converters.segments import segments

# An image is left out that is so many times as loud as the median image in this share of the
# tensors. Of EfficientNet-B0's and Lite0's photos, and of a fine-tuned B0's, none reaches 1.6, and
# 3.1 among frames that are grey all over; an EfficientNetV2-B0 that exploded on one photo in thirty
# had 5 to 90 there.
_TIMES = 4.0
_SHARE = 0.25
# Of more images than this it is what the network does.
_MOST = 0.2


def without_outliers(graph: Graph, images: Images, report: Report) -> Images:
    """The images but for those on which the network explodes.

    Args:
        graph: In float, for a batch of 1.
        images: To calibrate on; passed over once.
        report: Told how many are left out.
    """
    louder = _louder(graph, images)
    outliers = np.flatnonzero(louder > _TIMES)
    if not 0 < len(outliers) <= _MOST * images.count:
        return images
    report(
        f"{len(outliers)} of {images.count} images set nothing: the network explodes on them, to "
        f"{louder.max():.0f} times the values of the others"
    )
    return images.without(outliers.tolist())


def _louder(graph: Graph, images: Images) -> Floats:
    """How many times as loud as the median image each one is, (images,)."""
    names = [segment.result for segment in segments(graph)]
    run = runner(build(graph, "fp32", outputs=names), names)

    def peaks(image: Image) -> list[float]:
        return [float(np.abs(values).max()) for values in run({INPUT: image}).values()]

    found = np.array(list(in_order(peaks, images.all())), np.float32)
    typical = np.median(found, axis=0)
    alive = typical > 0
    if not alive.any():
        return np.ones(len(found), np.float32)
    louder: Floats = np.quantile(found[:, alive] / typical[alive], 1 - _SHARE, axis=1)
    return louder
