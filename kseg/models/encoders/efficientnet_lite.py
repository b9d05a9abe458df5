"""EfficientNet-Lite 0 to 4 (Google, 2020), any output stride.

EfficientNet (Tan and Le, 2019, arXiv:1905.11946, table 1) without what accelerators and int8 run
badly: no squeeze-excite, ReLU6 for swish, and a stem of the same width in all sizes. From
github.com/tensorflow/tpu, models/official/efficientnet/lite. Two differences:

- The last 1x1 convolution to 1280 channels, which serves classification, is left out, as in
  DeepLab.
- The two stages of stride 32, which have three quarters of the weights, are left out too, unless
  output_stride is 32. So at 16 there are no dilations; at 8, the stages of stride 16 have them.
"""

import math
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

import keras
from keras import layers

from kseg.errors import InputError
from kseg.models.blocks import batch_norm
from kseg.models.encoders.dilation import dilate
from kseg.models.encoders.mobilenet_v2 import round_channels
from kseg.models.pretrained import weight_files
from kseg.preprocess import Size


class Block(NamedTuple):
    """An inverted residual. expansion: of its input's channels; stride: the published one."""

    name: str
    stage: int
    expansion: int
    kernel: int
    channels: int
    stride: int


# (expansion, kernel, channels, repeats, stride) of each stage of B0: table 1 of the paper.
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
_STRIDE_16_STAGES = 5
_STEM_CHANNELS = 32
# (width, depth) by which B0 is scaled.
SCALES = {
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}
_DROP = 0.2  # Drop rate of the last block's residual branch; it rises linearly from 0.


def build(input_size: Size, variant: str = "lite0", *, output_stride: int = 16) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); output_stride 8, 16 or 32 is the coarsest stride. The finer features
    are the maps that the next downsampling block has expanded six times, as in our MobileNetV2.
    """
    image = keras.Input((*input_size, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = layers.Conv2D(
        _STEM_CHANNELS, 3, strides=2, padding="same", use_bias=False, name="stem_conv"
    )(x)
    x = layers.ReLU(6.0, name="stem_relu")(batch_norm(x, "stem_bn"))
    published = blocks(variant)
    kept = [block for block in published if output_stride == 32 or block.stage <= _STRIDE_16_STAGES]
    steps = dilate([block.stride for block in kept], output_stride)
    features = {}
    for number, (block, step) in enumerate(zip(kept, steps, strict=True)):
        stride, dilation, reached = step
        drop = _DROP * number / len(published)
        x, expanded = _inverted_residual(x, block, stride, dilation, drop)
        if stride == 2:
            features[reached // 2] = expanded
    features[output_stride] = x
    return keras.Model(image, features, name=f"efficientnet_{variant}")


def blocks(variant: str) -> list[Block]:
    """Returns all blocks of a key of SCALES."""
    width, depth = SCALES[variant]
    table = []
    for stage, (expansion, kernel, channels, repeats, stride) in enumerate(_STAGES, start=1):
        scaled = round_channels(channels, width)
        if stage not in (1, len(_STAGES)):  # These are not deepened.
            repeats = math.ceil(depth * repeats)
        for repeat in range(repeats):
            name = f"block{stage}{ascii_lowercase[repeat]}"
            published = stride if repeat == 0 else 1
            table.append(Block(name, stage, expansion, kernel, scaled, published))
    return table


def load_weights(encoder: keras.Model, source: str) -> None:
    """Loads weights into an encoder made by `build`.

    source: "none", or the path of a file made by kseg.import_weights. Raises InputError.
    """
    name = f"EfficientNet-{encoder.name.removeprefix('efficientnet_')}"
    if source == "none":
        return
    if source == "imagenet":
        raise InputError(
            f"encoder_weights 'imagenet': keras.applications has no {name}; Hugging Face has its "
            f"weights (timm/tf_{encoder.name}.in1k): download the folder, run python -m "
            "kseg.import_weights efficientnet-lite FOLDER, and give the file"
        )
    if not Path(source).is_file():
        raise InputError(
            f"{source}: no such encoder weights; give none or a .weights.h5 file written by "
            "python -m kseg.import_weights"
        )
    complete = build((64, 64), encoder.name.removeprefix("efficientnet_"), output_stride=32)
    weight_files.load(complete, source, name)
    weight_files.copy_by_layer(complete, encoder)


def _inverted_residual(x, block, stride, dilation, drop):
    """Returns the block's output and its expanded map, which has the size of its input."""
    shortcut, name = x, block.name
    if block.expansion != 1:
        x = layers.Conv2D(
            block.expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv"
        )(x)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(batch_norm(x, f"{name}_expand_bn"))
    expanded = x
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=stride,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=f"{name}_dwconv",
    )(x)
    x = layers.ReLU(6.0, name=f"{name}_relu")(batch_norm(x, f"{name}_bn"))
    x = layers.Conv2D(block.channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = batch_norm(x, f"{name}_project_bn")
    if shortcut.shape == x.shape:
        # Stochastic depth drops the branch of entire examples (arXiv:1603.09382).
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x, expanded
