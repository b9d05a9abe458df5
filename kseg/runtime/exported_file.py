"""A .tflite or .onnx of kseg.export on the CPU, by the runtime of its format."""

from collections.abc import Iterable

import numpy as np

from kseg import onnx_file
from kseg.runtime import litert, onnx_runtime
from kseg.runtime.litert import TFLiteModel
from kseg.runtime.onnx_runtime import OnnxModel

ExportedFile = TFLiteModel | OnnxModel


def load(data: bytes, num_threads: int | None = None) -> ExportedFile:
    """Returns the file, ready to run: (H, W, 3) uint8 RGB of the model's size -> (H, W) ids."""
    return (OnnxModel if onnx_file.is_onnx(data) else TFLiteModel)(data, num_threads)


def tensor_maxima(data: bytes, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Returns {tensor: largest magnitude}: the float tensors of a .tflite, the float16 ones of an
    .onnx. images: (H, W, 3) uint8 RGB of the model's size; infinity: values not finite."""
    runtime = onnx_runtime if onnx_file.is_onnx(data) else litert
    return runtime.tensor_maxima(data, images)
