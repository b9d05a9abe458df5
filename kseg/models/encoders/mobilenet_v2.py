"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381, table 2) with a chosen output stride.

Equal to keras.applications.MobileNetV2 layer by layer (same names, weights and, at output stride
32, features), with two differences: strides beyond output_stride become dilations, and the last 1x1
convolution to 1280 channels, which serves classification, is left out, as in DeepLab.
"""

import functools

import keras
from keras import layers

from kseg.errors import InputError
from kseg.models.blocks import batch_norm
from kseg.models.encoders.dilation import dilate
from kseg.models.encoders.preprocessing import normalize_to_one
from kseg.models.pretrained import weight_files
from kseg.preprocess import Size

# (expansion, channels, repeats, stride) of each stage: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_IMAGENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def build(input_size: Size, *, alpha: float = 1.0, output_stride: int = 16) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); alpha is the width multiplier of every layer; output_stride 8, 16 or
    32 is the coarsest stride. The finer features are the maps that the next downsampling block has
    expanded six times: the narrow maps between blocks carry too little (8 channels instead of 48 at
    stride 4 with alpha 0.35). DeepLab's own MobileNetV2 takes equally wide maps from the block
    before.
    """
    image = keras.Input((*input_size, 3), name="image")
    x = normalize_to_one(image)
    x = layers.Conv2D(
        round_channels(32, alpha), 3, strides=2, padding="same", use_bias=False, name="Conv1"
    )(x)
    x = batch_norm(x, "bn_Conv1")
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    blocks = [
        (expansion, round_channels(channels, alpha), stride if repeat == 0 else 1)
        for expansion, channels, repeats, stride in _STAGES
        for repeat in range(repeats)
    ]
    steps = dilate([stride for _, _, stride in blocks], output_stride)
    features = {}
    for number, ((expansion, channels, _), step) in enumerate(zip(blocks, steps, strict=True)):
        stride, dilation, reached = step
        x, expanded = _block(x, number, expansion, channels, stride, dilation)
        if stride == 2:
            features[reached // 2] = expanded
    features[output_stride] = x
    return keras.Model(image, features, name="mobilenet_v2")


def load_weights(encoder: keras.Model, source: str, *, alpha: float) -> None:
    """Loads weights into an encoder made by `build`.

    source: "none"; "imagenet" (keras.applications downloads its file once); or the path of a
    .weights.h5 file of keras.applications.MobileNetV2 without top. Raises InputError.
    """
    if source == "imagenet" and alpha not in _IMAGENET_ALPHAS:
        raise InputError(
            f"encoder_alpha {alpha:g}: keras.applications has ImageNet weights for 0.35, 0.5, "
            "0.75, 1.0, 1.3 and 1.4"
        )
    application = functools.partial(
        keras.applications.MobileNetV2, input_shape=(224, 224, 3), alpha=alpha, include_top=False
    )
    expected = f"MobileNetV2 without top, alpha {alpha:g}"
    weight_files.load_keras_applications(encoder, source, application, expected)


def _block(x, number, expansion, channels, stride, dilation):
    """Inverted residual (figure 3b of the paper), with keras.applications' layer names.

    Returns its output and its expanded map, which has the size of its input.
    """
    prefix = f"block_{number}_" if number else "expanded_conv_"
    shortcut = x
    if expansion != 1:
        x = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=prefix + "expand")(x)
        x = batch_norm(x, prefix + "expand_BN")
        x = layers.ReLU(6.0, name=prefix + "expand_relu")(x)
    expanded = x
    # Equal to keras.applications' explicit ZeroPadding2D, at even and odd sizes.
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        name=prefix + "depthwise",
    )(x)
    x = batch_norm(x, prefix + "depthwise_BN")
    x = layers.ReLU(6.0, name=prefix + "depthwise_relu")(x)
    x = layers.Conv2D(channels, 1, use_bias=False, name=prefix + "project")(x)
    x = batch_norm(x, prefix + "project_BN")
    if shortcut.shape == x.shape:
        x = layers.Add(name=prefix + "add")([shortcut, x])
    return x, expanded


def round_channels(channels: float, alpha: float = 1.0) -> int:
    """Nearest multiple of 8, but never more than a tenth below (the paper's reference code)."""
    exact = channels * alpha
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
