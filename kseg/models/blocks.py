"""Blocks that several families share. Keras layers only, so every backend trains them.

They also suit GPU delegates: rank 4 throughout, and every resize has a static target size.
"""

from typing import Any

from keras import layers

from kseg.models.resize import Resize
from kseg.preprocess import Size


def batch_norm(x: Any, name: str, epsilon: float = 1e-3) -> Any:
    """Batch norm with Keras' epsilon and moving averages that converge in a short training.

    Momentum is 0.9 where keras.applications has 0.99 and 0.999: with 0.999, the moving averages
    used in evaluation need tens of thousands of steps to converge.
    """
    return layers.BatchNormalization(epsilon=epsilon, momentum=0.9, name=name)(x)


def conv_bn_relu(x: Any, channels: int, kernel: int = 1, *, dilation: int = 1, name: str) -> Any:
    """Convolution without bias, batch norm, ReLU: (B, H, W, C) -> (B, H, W, channels)."""
    x = layers.Conv2D(
        channels,
        kernel,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    x = batch_norm(x, f"{name}_bn", epsilon=1e-5)
    return layers.ReLU(name=f"{name}_relu")(x)


def separable_conv_bn_relu(x: Any, channels: int, *, dilation: int = 1, name: str) -> Any:
    """3x3 depthwise, then 1x1 convolution, each with batch norm and ReLU (arXiv:1802.02611)."""
    x = layers.DepthwiseConv2D(
        3, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = batch_norm(x, f"{name}_depthwise_bn", epsilon=1e-5)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    return conv_bn_relu(x, channels, name=name)


def resize(x: Any, size: Size, name: str, dtype: str | None = None) -> Any:
    """Bilinear resize to (height, width) with half-pixel centres."""
    if x.shape[1:3] == tuple(size):
        return x
    return Resize(size, "bilinear", dtype=dtype, name=name)(x)


def broadcast(x: Any, size: Size, name: str) -> Any:
    """Repeats (B, 1, 1, C) over (B, height, width, C).

    Uses a nearest-neighbour resize: layers.UpSampling2D makes rank-5 tensors, which GPU delegates
    reject.
    """
    return Resize(size, "nearest", name=name)(x)


def classify(x: Any, num_classes: int, input_size: Size) -> Any:
    """1x1 convolution to class logits, upsampled to the input's size; float32 even in mixed
    precision."""
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits_conv")(x)
    return resize(x, input_size, name="logits", dtype="float32")


def adaptive_average_pool(x: Any, bins: int, name: str) -> Any:
    """Averages over a grid of bins: (B, H, W, C) -> (B, bins, bins, C), any H and W.

    Bin i of n covers floor(i H / n) up to ceil((i + 1) H / n), as in PyTorch's adaptive_avg_pool2d:
    bins overlap where n does not divide H, and repeat pixels where H < n. Bin borders are static,
    so cropping, average pooling and concatenation suffice, first along the height, then the width.
    """
    if bins == 1:
        return layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)
    return _pool_axis(_pool_axis(x, bins, 0, f"{name}_height"), bins, 1, f"{name}_width")


def _pool_axis(x, bins, axis, name):
    size = x.shape[1 + axis]
    means = []
    for i in range(bins):
        start, end = i * size // bins, -(-(i + 1) * size // bins)
        crop, window = [[0, 0], [0, 0]], [1, 1]
        crop[axis], window[axis] = [start, size - end], end - start
        cropped = layers.Cropping2D(crop, name=f"{name}{i + 1}_crop")(x)
        means.append(layers.AveragePooling2D(window, name=f"{name}{i + 1}")(cropped))
    return layers.Concatenate(axis=1 + axis, name=name)(means)
