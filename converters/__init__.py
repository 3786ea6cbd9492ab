"""From a Keras EfficientNet to verified files: one frozen graph, one quantization, three lowerings.

This package runs on the host that has TensorFlow; what runs on the device is `edgenet`.
"""
