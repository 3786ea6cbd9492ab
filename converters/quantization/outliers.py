"""Images that calibration leaves out: those of one colour, and those on which a network explodes.

A frame of one colour has small values in every tensor. It lowers the mean of the images' tails, at
which ranges end, and figures measured on it are optimistic. Where every fifth image is one, B0
loses 1.8 dB on photos.

An image on which the network explodes has values so large that ranges made to hold them would leave
hardly a level to those of other images. Fine-tuned on little, with batch statistics that lag behind
its weights, a network answers one image in fifty with maps a hundred times as loud as all others.
Such an image says nothing of the ranges, weights or biases that suit the others; photos that a
network knows how to answer hardly differ in loudness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.formats.onnx import build
from converters.graph import INPUT, Floats, Graph
from converters.quantization.images import Images
from converters.quantization.parallel import in_order
from converters.quantization.simulate import Image, runner
from converters.report import Report
from converters.segments import segments

# An image explodes that in this share of the tensors is so many times as loud as the median image.
# Of EfficientNet-B0's and Lite0's photos, and of a fine-tuned B0's, none reaches 1.6 times, or 3.1
# among frames that are grey all over; on one photo in thirty an EfficientNetV2-B0 reached 5 to 90.
_TIMES = 4.0
_SHARE = 0.25
# Where more of the images than this would be left out, none is: the network is so on all of them.
_MOST = 0.2


def without_outliers(graph: Graph, images: Images, report: Report) -> Images:
    """The images but for those of one colour, unless all are, and those that explode.

    Args:
        graph: In float, for a batch of 1.
        images: To calibrate on; passed over once.
        report: Told how many are left out, and why.
    """
    peaks, blank = _looked_at(graph, images)
    if blank.all():
        blank[:] = False
    shown, left_out = np.flatnonzero(~blank), np.flatnonzero(blank).tolist()
    if left_out:
        report(f"{len(left_out)} of {images.count} images are left out: they are of one colour")
    louder = _louder(peaks[shown])
    outliers = shown[louder > _TIMES]
    if 0 < len(outliers) <= _MOST * len(shown):
        report(
            f"{len(outliers)} of {images.count} images are left out: the network explodes on them, "
            f"to {louder.max():.0f} times the values of the others"
        )
        left_out += outliers.tolist()
    return images.without(left_out) if left_out else images


def _looked_at(graph: Graph, images: Images) -> tuple[Floats, NDArray[np.bool_]]:
    """The peaks of tensors, (images, tensors), and which images are of one colour, (images,)."""
    names = [segment.result for segment in segments(graph)]
    run = runner(build(graph, "fp32", outputs=names), names)

    def look(image: Image) -> tuple[list[float], bool]:
        peaks = [float(np.abs(values).max()) for values in run({INPUT: image}).values()]
        return peaks, not np.ptp(image, axis=(1, 2)).any()

    peaks, blank = zip(*in_order(look, images.all()), strict=True)
    return np.array(peaks, np.float32), np.array(blank)


def _louder(peaks: Floats) -> Floats:
    """How many times as loud as the median image each one is, (images,)."""
    typical = np.median(peaks, axis=0)
    alive = typical > 0
    if not alive.any():
        return np.ones(len(peaks), np.float32)
    louder: Floats = np.quantile(peaks[:, alive] / typical[alive], 1 - _SHARE, axis=1)
    return louder
