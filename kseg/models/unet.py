"""U-Net (Ronneberger et al., 2015, arXiv:1505.04597, figure 1), as published and on an encoder."""

from typing import Any

import keras
from keras import layers

from kseg.models.blocks import classify, conv_bn_relu, resize
from kseg.models.encoders.preprocessing import normalize_to_one
from kseg.preprocess import Size

LEVELS = 4  # Downsampling steps; each halves the size and doubles the channels.


def unet(input_size: Size, num_classes: int, *, channels: int = 64) -> keras.Model:
    """U-Net.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of the first level, 64 in the paper; the bottom is 16 times as
    wide.

    Differences from the paper: convolutions are padded, so that logits have the input's size and
    skips need no cropping; each convolution has batch norm; and upsampling is bilinear to the
    skip's size, so that odd sizes work. The 2x2 convolution after it halves the channels, like the
    paper's up-convolution. A transposed convolution has as many weights, but can only double the
    size, and leaves checkerboard artefacts.
    """
    image = keras.Input((*input_size, 3), name="image")
    x = normalize_to_one(image)
    skips = []
    for level in range(LEVELS):
        x = double_conv(x, channels * 2**level, name=f"down{level + 1}")
        skips.append(x)
        # "same" rounds odd sizes up, so that no row or column is lost.
        x = layers.MaxPooling2D(2, padding="same", name=f"down{level + 1}_pool")(x)
    x = double_conv(x, channels * 2**LEVELS, name="bottom")
    for level in reversed(range(LEVELS)):
        x = up(x, skips[level], channels * 2**level, name=f"up{level + 1}")
    return keras.Model(image, classify(x, num_classes, input_size), name="unet")


def unet_on_encoder(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 256
) -> keras.Model:
    """U-Net's decoder on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of the level at stride 16; it halves with each level up to full
    resolution, but never below 8. With channels 256, an encoder of output stride 32 gets the levels
    of segmentation_models.pytorch: 256, 128, 64, 32 and 16. An encoder of output stride 16 has its
    last stage in place of the level of 256, so its decoder begins with 128.

    As in segmentation_models.pytorch, no convolution comes between upsampling and concatenation,
    and the last level, at the input's size, has no features to concatenate. Upsampling is bilinear,
    as in `unet`.
    """
    features = encoder.output
    coarsest, *finer = sorted(features, reverse=True)
    x = features[coarsest]
    for stride in finer:
        x = resize(x, features[stride].shape[1:3], name=f"up{stride}_resize")
        x = layers.Concatenate(name=f"up{stride}_concat")([features[stride], x])
        x = double_conv(x, max(8, channels * stride // 16), name=f"up{stride}")
    x = resize(x, input_size, name="up1_resize")
    x = double_conv(x, max(8, channels // 16), name="up1")
    return keras.Model(encoder.input, classify(x, num_classes, input_size), name="unet")


def double_conv(x: Any, channels: int, name: str) -> Any:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    x = conv_bn_relu(x, channels, 3, name=f"{name}_1")
    return conv_bn_relu(x, channels, 3, name=f"{name}_2")


def up(x: Any, skip: Any, channels: int, name: str) -> Any:
    """Upsampling, a 2x2 convolution, concatenation with the skip, and two 3x3 convolutions."""
    x = resize(x, skip.shape[1:3], name=f"{name}_resize")
    x = layers.Conv2D(channels, 2, padding="same", name=f"{name}_conv")(x)
    x = layers.Concatenate(name=f"{name}_concat")([skip, x])
    return double_conv(x, channels, name=name)
