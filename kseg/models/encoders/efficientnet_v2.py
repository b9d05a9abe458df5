"""EfficientNetV2 B0 to B3 (Tan and Le, 2021, arXiv:2104.00298), any output stride.

Equal to keras.applications.EfficientNetV2B0 to B3 layer by layer (same names, weights and, at
output stride 32, features), with two differences: strides beyond output_stride become dilations,
and the last 1x1 convolution to 1280 channels or more, which serves classification, is left out.
DeepLab does the same with MobileNetV2, and EfficientDet with EfficientNet.
"""

import functools
import math
from string import ascii_lowercase
from typing import Any, NamedTuple

import keras
from keras import layers

from kseg.models.blocks import batch_norm
from kseg.models.encoders.dilation import dilate
from kseg.models.encoders.preprocessing import normalize_imagenet
from kseg.models.pretrained import weight_files
from kseg.preprocess import Size


class Stage(NamedTuple):
    """Blocks of one width: `fused` ones expand by a 3x3 convolution, others have squeeze-excite."""

    fused: bool
    expansion: int
    channels: int
    repeats: int
    stride: int


# B0; the others are scaled from it. From the paper's code: its table 4 has V2-S only.
_STAGES = (
    Stage(True, 1, 16, 1, 1),
    Stage(True, 4, 32, 2, 2),
    Stage(True, 4, 48, 2, 2),
    Stage(False, 4, 96, 3, 2),
    Stage(False, 6, 112, 5, 1),
    Stage(False, 6, 192, 8, 2),
)
SCALES = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4)}  # Width, depth.
_APPLICATIONS = {f"efficientnet_v2_{v}": f"EfficientNetV2{v.upper()}" for v in SCALES}
_DROP = 0.2  # Drop rate of the last block's residual branch; it rises linearly from 0.


def build(input_size: Size, variant: str = "b0", *, output_stride: int = 16) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); output_stride 8, 16 or 32 is the coarsest stride. Every feature map
    is the output of the last block of its stride (16, 32, 48, 112 and 192 channels in B0), as in
    EfficientDet. The fused blocks expand and downsample in one convolution, so there is no expanded
    map at the finer size, as MobileNet has.
    """
    width, depth = SCALES[variant]
    blocks = [
        (f"block{number + 1}{ascii_lowercase[repeat]}", stage, stage.stride if repeat == 0 else 1)
        for number, stage in enumerate(_STAGES)
        for repeat in range(math.ceil(depth * stage.repeats))
    ]
    steps = dilate([stride for _, _, stride in blocks], output_stride)
    image = keras.Input((*input_size, 3), name="image")
    x = normalize_imagenet(image)
    x = _conv_bn(x, _round(32 * width), 3, "stem_conv", "stem_bn", strides=2)
    x, features = _swish(x, "stem_activation"), {}
    for number, ((name, stage, published), step) in enumerate(zip(blocks, steps, strict=True)):
        stride, dilation, reached = step
        channels = _round(stage.channels * width)
        if stage.fused:  # Never dilated: the fused stages end at stride 8.
            y = _fused_block(x, stage.expansion, channels, stride, name)
        else:
            y = _block(x, stage.expansion, channels, stride, dilation, name)
        if published == 1 and x.shape == y.shape:
            # Stochastic depth drops the branch of entire examples (arXiv:1603.09382).
            drop = _DROP * number / len(blocks)
            y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
            y = layers.Add(name=f"{name}_add")([y, x])
        features[reached] = x = y
    return keras.Model(image, features, name=f"efficientnet_v2_{variant}")


def load_weights(encoder: keras.Model, source: str) -> None:
    """Loads weights into an encoder made by `build`.

    source: "none"; "imagenet" (keras.applications downloads its file once); or the path of a
    weights file of the same keras.applications model without top. Raises InputError.
    """
    name = _APPLICATIONS[encoder.name]
    application = functools.partial(
        getattr(keras.applications, name), input_shape=(224, 224, 3), include_top=False
    )
    weight_files.load_keras_applications(encoder, source, application, f"{name} without top")


def _fused_block(x, expansion, channels, stride, name):
    """3x3 to expand and 1x1 back; a single 3x3 where nothing is expanded (figure 2)."""
    if expansion == 1:
        x = _conv_bn(x, channels, 3, f"{name}_project_conv", f"{name}_project_bn", strides=stride)
        return _swish(x, f"{name}_project_activation")
    wide = expansion * x.shape[-1]
    x = _conv_bn(x, wide, 3, f"{name}_expand_conv", f"{name}_expand_bn", strides=stride)
    x = _swish(x, f"{name}_expand_activation")
    return _conv_bn(x, channels, 1, f"{name}_project_conv", f"{name}_project_bn")


def _block(x, expansion, channels, stride, dilation, name):
    """1x1 to expand, 3x3 depthwise, squeeze-excite, 1x1 back (figure 2)."""
    squeezed = x.shape[-1] // 4  # Relative to the narrow map, unlike in MobileNetV3.
    x = _conv_bn(x, expansion * x.shape[-1], 1, f"{name}_expand_conv", f"{name}_expand_bn")
    x = _swish(x, f"{name}_expand_activation")
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{name}_dwconv2",
    )(x)
    x = _swish(batch_norm(x, f"{name}_bn"), f"{name}_activation")
    x = squeeze_excite(x, squeezed, name)
    return _conv_bn(x, channels, 1, f"{name}_project_conv", f"{name}_project_bn")


def squeeze_excite(x: Any, squeezed: int, name: str) -> Any:
    """Scales each channel by a gate computed from all channels' means (arXiv:1709.01507)."""
    # keepdims keeps rank 4, so that the product broadcasts.
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
    gate = layers.Conv2D(squeezed, 1, activation="swish", name=f"{name}_se_reduce")(gate)
    gate = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_se_expand")(gate)
    return layers.Multiply(name=f"{name}_se_excite")([x, gate])


def _conv_bn(x, channels, kernel, name, bn_name, strides=1):
    x = layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False, name=name)(
        x
    )
    return batch_norm(x, bn_name)


def _swish(x, name):
    return layers.Activation("swish", name=name)(x)


def _round(channels):
    """Nearest multiple of 8, even if that removes a tenth or more (unlike in MobileNet)."""
    return max(8, int(channels + 4) // 8 * 8)
