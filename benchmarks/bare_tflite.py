"""The script that a user would write by hand: classify a photo with a TFLite file and the engine.

    python benchmarks/bare_tflite.py MODEL.tflite PHOTO CROP_FRACTION THREADS

`benchmarks.cold_start` compares `edgenet run` with it; it checks nothing and knows no class names.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

model, photo, crop_fraction, threads = sys.argv[1:]
interpreter = Interpreter(model_path=model, num_threads=int(threads))
interpreter.allocate_tensors()
taken = interpreter.get_input_details()[0]
_, height, width, _ = taken["shape"]

image = Image.open(photo).convert("RGB")
side = round(min(image.size) * float(crop_fraction))
left, top = (image.width - side) // 2, (image.height - side) // 2
square = image.crop((left, top, left + side, top + side))
pixels = np.asarray(square.resize((width, height), Image.Resampling.BICUBIC))

interpreter.set_tensor(taken["index"], pixels[None])
interpreter.invoke()
(given,) = (d for d in interpreter.get_output_details() if "probabilities" in d["name"])
probabilities = interpreter.get_tensor(given["index"])[0]
for index in np.argsort(-probabilities)[:5]:
    print(index, f"{probabilities[index]:.3f}")
