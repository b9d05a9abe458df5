"""PyTorch's names and axes of weights, converted to Keras'."""

import numpy as np

_NORM_WEIGHTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def keras_weight(
    layer: str, kind: str, tensor: np.ndarray, *, norm: bool, depthwise: bool
) -> tuple[str, np.ndarray]:
    """Returns (weight path, float32 array) of a norm or a convolution.

    layer: our name; kind: the last part of PyTorch's name. A linear layer becomes a 1x1
    convolution.
    """
    array = np.asarray(tensor, np.float32)
    if norm:
        return f"{layer}/{_NORM_WEIGHTS.get(kind, kind)}", array
    if kind != "weight":
        return f"{layer}/{kind}", array
    if array.ndim == 2:
        array = array[:, :, None, None]
    # (channels, 1, h, w) -> (h, w, channels, 1) or (out, in, h, w) -> (h, w, in, out).
    return f"{layer}/kernel", array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
