"""Whether a file's values fit into float16, in which GPUs and fp16 kernels compute."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from kseg.runtime.exported_file import tensor_maxima

FLOAT16_MAX = 65504.0
# Frames in the car can reach larger values than those that are measured here.
_MARGIN = 2


def measure(model_file: bytes, images: Iterable[np.ndarray]) -> dict[str, Any]:
    """Returns {"largest": magnitude, "tensor": its name}, over all tensors and images.

    images: (H, W, 3) uint8 RGB of the model's size. In a .tflite the CPU computes in float32, so
    that it also finds what overflows in float16; of an .onnx only tensors in float16 are measured.
    largest is None for values that are not finite.
    """
    tensor, largest = max(tensor_maxima(model_file, images).items(), key=lambda item: item[1])
    return {"largest": largest if math.isfinite(largest) else None, "tensor": tensor}


def problems(measured: dict[str, Any]) -> list[str]:
    """Returns a line when the values of `measure` do not fit into float16."""
    limit = FLOAT16_MAX / _MARGIN
    largest = measured["largest"]
    if largest is not None and largest <= limit:
        return []
    reached = "infinity or NaN" if largest is None else f"{largest:.3g}"
    return [
        f"{measured['tensor']} reaches {reached}, float16 may reach {limit:.0f} "
        f"({FLOAT16_MAX:.0f} with a margin of {_MARGIN}): on a GPU it can overflow to infinity or "
        "NaN; train with weight decay or a lower learning rate, or export --precision fp32 "
        "--profile cpu"
    ]
