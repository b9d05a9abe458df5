"""Resizing of feature maps: by the backend's resize, or by matrix products for XLA on TensorFlow.

XLA of TensorFlow 2.21 resizes wrongly, in silence: bilinear from (3, 5) to (5, 9), to (9, 17) and
such sizes, by up to 0.8 of 1. It has no gradient of a nearest resize. Matrix products are right
there. They are for training only: GPU delegates want RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kseg.preprocess import Size


@keras.saving.register_keras_serializable("kseg")
class Resize(layers.Layer):
    """Resizes (B, H, W, C) to (B, height, width, C) with half-pixel centres.

    layers.Resizing would not do: its `call` has training=True by default and passes that on, so
    that in a plain `model(image)` every batch norm after it would use the batch's own statistics.
    """

    by_matrices = False

    # **options: keras.Layer's own (name, dtype), so that the layer can be cloned.
    def __init__(self, size: Size, interpolation: str, **options: Any) -> None:
        super().__init__(**options)
        self.size, self.interpolation = (size[0], size[1]), interpolation

    def call(self, x: Any) -> Any:
        return resize_map(x, self.size, self.interpolation, by_matrices=self.by_matrices)


def resize_map(x: Any, size: Size, interpolation: str, *, by_matrices: bool) -> Any:
    """Resizes (B, H, W, C) to `size`. by_matrices: by two matrix products, the same up to rounding.

    interpolation: "bilinear" or "nearest".
    """
    if not by_matrices:
        return ops.image.resize(x, size, interpolation=interpolation, data_format="channels_last")
    rows, columns = (
        ops.convert_to_tensor(weights(source, target, interpolation), x.dtype)
        for source, target in zip(x.shape[1:3], size, strict=True)
    )
    return ops.einsum("Ww,bHwc->bHWc", columns, ops.einsum("Hh,bhwc->bHwc", rows, x))


def weights(source: int, target: int, interpolation: str) -> np.ndarray:
    """The (target, source) matrix, float32, that resizes a row of `source` pixels to `target`.

    Pixel i of the result has its centre at (i + 0.5) source / target - 0.5 of the row. Beyond the
    outer centres the outer pixels are repeated.
    """
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    if interpolation == "nearest":
        return np.eye(source, dtype=np.float32)[np.floor(centres + 0.5).astype(int)]
    centres = np.clip(centres, 0, source - 1)
    return np.maximum(0, 1 - abs(centres[:, None] - np.arange(source))).astype(np.float32)


def resize_by_matrices(model: keras.Model) -> None:
    """Makes all layers of a model that can resize do so by matrix products."""
    for layer in model.layers:
        if hasattr(layer, "by_matrices"):
            layer.by_matrices = True
