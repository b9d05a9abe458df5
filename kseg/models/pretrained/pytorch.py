"""PyTorch's names and axes of weights, converted to Keras'."""

import numpy as np

_NORM_WEIGHTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def norm_weight(layer: str, kind: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns (weight path, array) of a norm; kind is the last part of PyTorch's name."""
    return f"{layer}/{_NORM_WEIGHTS.get(kind, kind)}", tensor


def conv_weight(
    layer: str, kind: str, tensor: np.ndarray, *, depthwise: bool
) -> tuple[str, np.ndarray]:
    """Returns (weight path, array) of a convolution; a linear layer's becomes that of a 1x1 one."""
    if kind != "weight":
        return f"{layer}/{kind}", tensor
    if tensor.ndim == 2:
        tensor = tensor[:, :, None, None]
    # (channels, 1, h, w) -> (h, w, channels, 1) or (out, in, h, w) -> (h, w, in, out).
    return f"{layer}/kernel", tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
