"""PSPNet (Zhao et al., 2017, arXiv:1612.01105, figure 3)."""

import keras
from keras import layers

from kseg.models.blocks import adaptive_average_pool, broadcast, classify, conv_bn_relu, resize

PYRAMID = (1, 2, 3, 6)  # Bins on each side of the map, whatever its shape.


def pspnet(encoder, input_size, num_classes, *, channels=512):
    """PSPNet on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of each pyramid level and of the fused map, a quarter of ResNet's
    2048 channels in the paper, which trains at output stride 8. The default is as wide on other
    encoders, as mmsegmentation's on MobileNetV2.

    The paper's auxiliary loss on the stage before the last is a branch for training only; it is not
    part of this model.
    """
    features = encoder.output
    x = features[max(features)]
    x = layers.Concatenate(name="pyramid_concat")([x, *pyramid(x, channels)])
    x = conv_bn_relu(x, channels, 3, name="head")
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="pspnet")


def pyramid(x, channels):
    """The map's averages over coarser and finer grids, each spread over the map again."""
    size = x.shape[1:3]
    levels = []
    for bins in PYRAMID:
        name = f"pyramid{bins}"
        pooled = adaptive_average_pool(x, bins, name=f"{name}_pool")
        pooled = conv_bn_relu(pooled, channels, name=name)
        spread = broadcast if bins == 1 else resize
        levels.append(spread(pooled, size, name=f"{name}_resize"))
    return levels
