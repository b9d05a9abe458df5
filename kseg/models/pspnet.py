"""PSPNet (Zhao et al., 2017, arXiv:1612.01105, figure 3)."""

from typing import Any

import keras
from keras import layers

from kseg.models.blocks import adaptive_average_pool, broadcast, classify, conv_bn_relu, resize
from kseg.preprocess import Size

PYRAMID = (1, 2, 3, 6)  # Bins along each side of the feature map.


def pspnet(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 512
) -> keras.Model:
    """PSPNet on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of each pyramid level and of the fused map. The default is a
    quarter of ResNet's 2048 channels, as in the paper (which trains at output stride 8), for every
    encoder, as in mmsegmentation's PSPNet on MobileNetV2.

    The paper's auxiliary loss on the stage before the last is used in training only and is not part
    of this model (kseg.models.auxiliary adds it).
    """
    features = encoder.output
    x = features[max(features)]
    x = layers.Concatenate(name="pyramid_concat")([x, *pyramid(x, channels)])
    x = conv_bn_relu(x, channels, 3, name="head")
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="pspnet")


def pyramid(x: Any, channels: int) -> list[Any]:
    """Averages of the feature map over coarse to fine grids, each resized to the map's size."""
    size = x.shape[1:3]
    levels = []
    for bins in PYRAMID:
        name = f"pyramid{bins}"
        pooled = adaptive_average_pool(x, bins, name=f"{name}_pool")
        pooled = conv_bn_relu(pooled, channels, name=name)
        upsample = broadcast if bins == 1 else resize
        levels.append(upsample(pooled, size, name=f"{name}_resize"))
    return levels
