"""A tiny segmentation model in every precision, for trying a machine without an exported model.

Each file takes image (1, 48, 80, 3) uint8 and returns class_map (1, 48, 80) uint8 with 4 classes.
It has the operators that kseg's exports consist of: cast or quantize, convolution, depthwise
convolution, bilinear resize and argmax. Weights are random, chosen so that all classes occur in
kseg.runtime.synthetic_frames. The files were written by kseg/runtime/tiny_model.py of commit
dccca12, which built them operator by operator from TFLite's schema.
"""

from importlib import resources

SIZE = (48, 80)


def read(precision: str) -> bytes:
    """Returns the .tflite of a precision: "fp32", "fp16", "int8" or "int8-dynamic"."""
    return resources.files(__name__).joinpath(f"{precision}.tflite").read_bytes()
