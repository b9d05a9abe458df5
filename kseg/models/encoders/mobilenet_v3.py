"""MobileNetV3 Large and Small (Howard et al., 2019, arXiv:1905.02244, tables 1 and 2).

Equal to keras.applications.MobileNetV3Large and MobileNetV3Small layer by layer (same names,
weights and, at output stride 32, features), except that strides beyond output_stride become
dilations. The last 1x1 convolution, six times as wide as the last block, is kept: DeepLab's own
MobileNetV3 and torchvision's end after it. (The last convolution of MobileNetV2, which DeepLab
leaves out, serves classification; MobileNetV3 has that one after the pooling.)
"""

import functools
from typing import Any, NamedTuple

import keras
from keras import layers

from kseg.errors import InputError
from kseg.models.blocks import batch_norm
from kseg.models.encoders.dilation import dilate
from kseg.models.encoders.mobilenet_v2 import round_channels
from kseg.models.encoders.preprocessing import normalize_to_one
from kseg.models.pretrained import weight_files
from kseg.preprocess import Size


class Block(NamedTuple):
    """One row of the paper's tables; expansion is "exp size" over the block's input channels."""

    expansion: float
    channels: int
    kernel: int
    stride: int
    squeeze: bool
    activation: str


VARIANTS = {
    "large": (
        Block(1, 16, 3, 1, False, "relu"),
        Block(4, 24, 3, 2, False, "relu"),
        Block(3, 24, 3, 1, False, "relu"),
        Block(3, 40, 5, 2, True, "relu"),
        Block(3, 40, 5, 1, True, "relu"),
        Block(3, 40, 5, 1, True, "relu"),
        Block(6, 80, 3, 2, False, "hard_swish"),
        Block(2.5, 80, 3, 1, False, "hard_swish"),
        Block(2.3, 80, 3, 1, False, "hard_swish"),
        Block(2.3, 80, 3, 1, False, "hard_swish"),
        Block(6, 112, 3, 1, True, "hard_swish"),
        Block(6, 112, 3, 1, True, "hard_swish"),
        Block(6, 160, 5, 2, True, "hard_swish"),
        Block(6, 160, 5, 1, True, "hard_swish"),
        Block(6, 160, 5, 1, True, "hard_swish"),
    ),
    "small": (
        Block(1, 16, 3, 2, True, "relu"),
        Block(72 / 16, 24, 3, 2, False, "relu"),
        Block(88 / 24, 24, 3, 1, False, "relu"),
        Block(4, 40, 5, 2, True, "hard_swish"),
        Block(6, 40, 5, 1, True, "hard_swish"),
        Block(6, 40, 5, 1, True, "hard_swish"),
        Block(3, 48, 5, 1, True, "hard_swish"),
        Block(3, 48, 5, 1, True, "hard_swish"),
        Block(6, 96, 5, 2, True, "hard_swish"),
        Block(6, 96, 5, 1, True, "hard_swish"),
        Block(6, 96, 5, 1, True, "hard_swish"),
    ),
}
_APPLICATIONS = {
    "mobilenet_v3_large": "MobileNetV3Large",
    "mobilenet_v3_small": "MobileNetV3Small",
}
_IMAGENET_ALPHAS = (0.75, 1.0)


def build(
    input_size: Size, variant: str = "large", *, alpha: float = 1.0, output_stride: int = 16
) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); alpha is the width multiplier of every block; output_stride 8, 16 or
    32 is the coarsest stride. The coarsest feature is the output of the last convolution (960
    channels in Large, 576 in Small).

    The finer features are the maps that the next downsampling block has expanded, as in
    mobilenet_v2. DeepLab's own MobileNetV3 takes the depthwise output of the block before, at the
    same cost: with as many channels at stride 4 of Large (72), but with 16 instead of 72 in Small.
    """
    image = keras.Input((*input_size, 3), name="image")
    x = normalize_to_one(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = _bn_activation(x, "hard_swish", "conv")
    features, blocks = {}, VARIANTS[variant]
    steps = dilate([block.stride for block in blocks], output_stride)
    for number, (block, (stride, dilation, reached)) in enumerate(zip(blocks, steps, strict=True)):
        y, expanded = _block(
            x, number, block, round_channels(block.channels, alpha), stride, dilation
        )
        if block.stride == 1 and x.shape == y.shape:
            y = layers.Add(name=f"{_prefix(number)}add")([x, y])
        if stride == 2:
            features[reached // 2] = expanded
        x = y
    x = layers.Conv2D(round_channels(6 * x.shape[-1]), 1, use_bias=False, name="conv_1")(x)
    features[output_stride] = _bn_activation(x, "hard_swish", "conv_1")
    return keras.Model(image, features, name=f"mobilenet_v3_{variant}")


def load_weights(encoder: keras.Model, source: str, *, alpha: float) -> None:
    """Loads weights into an encoder made by `build`.

    source: "none"; "imagenet" (keras.applications downloads its file once); or the path of a
    weights file of the same keras.applications model without top. Raises InputError.
    """
    if source == "imagenet" and alpha not in _IMAGENET_ALPHAS:
        raise InputError(
            f"encoder_alpha {alpha:g}: keras.applications has ImageNet weights of MobileNetV3 for "
            "0.75 and 1.0"
        )
    name = _APPLICATIONS[encoder.name]
    application = functools.partial(
        getattr(keras.applications, name),
        input_shape=(224, 224, 3),
        alpha=alpha,
        include_top=False,
    )
    weight_files.load_keras_applications(
        encoder, source, application, f"{name} without top, alpha {alpha:g}"
    )


def _block(x, number, block, channels, stride, dilation):
    """Inverted residual with squeeze-excite (figure 4), with keras.applications' layer names.

    Returns its output, before it is added to x, and its expanded map, which has the size of x.
    """
    prefix = _prefix(number)
    if number > 0:
        wide = round_channels(block.expansion * x.shape[-1])
        x = layers.Conv2D(wide, 1, use_bias=False, name=f"{prefix}expand")(x)
        x = _bn_activation(x, block.activation, f"{prefix}expand")
    expanded = x
    # Equal to keras.applications' explicit ZeroPadding2D, at even and odd sizes.
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=stride,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{prefix}depthwise",
    )(x)
    x = _bn_activation(x, block.activation, f"{prefix}depthwise")
    if block.squeeze:
        x = squeeze_excite(x, f"{prefix}squeeze_excite")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{prefix}project")(x)
    return batch_norm(x, f"{prefix}project_bn"), expanded


def squeeze_excite(x: Any, name: str) -> Any:
    """Scales each channel by a gate computed from all channels' means (arXiv:1709.01507).

    Its width and activations are those of MobileNetV3's section 5.3.
    """
    channels = x.shape[-1]
    # keepdims keeps rank 4, so that the product broadcasts.
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    gate = layers.Conv2D(round_channels(channels / 4), 1, name=f"{name}_conv")(gate)
    gate = layers.ReLU(name=f"{name}_relu")(gate)
    gate = layers.Conv2D(channels, 1, name=f"{name}_conv_1")(gate)
    gate = layers.Activation("hard_sigmoid", name=f"{name}_gate")(gate)
    return layers.Multiply(name=f"{name}_mul")([x, gate])


def _prefix(number):
    return f"expanded_conv_{number}_" if number else "expanded_conv_"


def _bn_activation(x, activation, name):
    return layers.Activation(activation, name=f"{name}_{activation}")(batch_norm(x, f"{name}_bn"))
