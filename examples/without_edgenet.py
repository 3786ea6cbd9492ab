"""Names the five most probable classes of a photo with NumPy, Pillow and ONNX Runtime alone.

It shows what an app in another language has to do; the other engines' files take the same pixels.

python examples/without_edgenet.py BUNDLE PHOTO
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(photo: Image.Image, spec: dict) -> np.ndarray:
    """What edgenet does to a photo; `spec` is the manifest's "input"."""
    _, height, width, _ = spec["shape"]
    if spec["crop_fraction"] < 1:  # else the whole photo, squashed
        side = round(min(photo.size) * spec["crop_fraction"])
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, top, left + side, top + side))
    if spec["interpolation"] != "tf-bilinear":  # Pillow's, which is antialiased
        resample = Image.Resampling[spec["interpolation"].upper()]
        return np.asarray(photo.resize((width, height), resample))
    pixels = np.asarray(photo, np.float32)
    for axis, wanted in enumerate((height, width)):  # as tf.image.resize: not antialiased
        size = pixels.shape[axis]
        place = (np.arange(wanted) + 0.5) * size / wanted - 0.5
        first = np.floor(place).astype(int)
        share = (place - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        before = pixels.take(first.clip(0, size - 1), axis)
        after = pixels.take((first + 1).clip(0, size - 1), axis)
        pixels = before + (after - before) * share
    return np.rint(pixels).astype(np.uint8)


def main(bundle: Path, photo: str) -> None:
    spec = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["input"]
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    images = prepare(upright, spec)[None].astype(spec["dtype"])  # never normalized
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    (shares,) = session.run(["probabilities"], {spec["name"]: images})
    names = bundle / "labels.txt"  # not there where convert was given no labels
    labels = names.read_text(encoding="utf-8").splitlines() if names.exists() else None
    for index in shares[0].argsort()[:-6:-1]:
        print(f"{shares[0][index]:6.1%}  {labels[index] if labels else index}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo")
    main(**vars(parser.parse_args()))
