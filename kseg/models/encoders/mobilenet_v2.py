"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381, table 2) with a chosen output stride.

Layer for layer keras.applications.MobileNetV2 (same names, weights and, at output stride 32,
features), except that strides past output_stride become dilations, and that the last 1x1
convolution to 1280 channels, made for classification, is left out, as DeepLab does.
"""

import functools

import keras
from keras import layers

from kseg.errors import InputError
from kseg.models.blocks import batch_norm
from kseg.models.encoders.dilation import dilate
from kseg.models.pretrained import weight_files

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


def build(input_size, *, alpha=1.0, output_stride=16):
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); alpha widens or narrows every layer; output_stride 8, 16 or 32 is
    the coarsest stride. The finer features are taken where the next downsampling block has expanded
    them six times: the narrow ones between blocks say too little (48 against 8 channels at stride 4
    of alpha 0.35). DeepLab's own MobileNetV2 takes maps as wide, from the block before.
    """
    image = keras.Input((*input_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalize")(image)
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


def load_weights(encoder, source, *, alpha):
    """Loads `source` into an encoder made by `build`.

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
    wanted = f"MobileNetV2 without top, alpha {alpha:g}"
    weight_files.load_application(encoder, source, application, wanted)


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
    # padding="same" pads as keras.applications' explicit ZeroPadding2D does, even and odd sizes.
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


def round_channels(channels, alpha=1.0):
    """Nearest multiple of 8, never more than a tenth below (the paper's reference code)."""
    wanted = channels * alpha
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
