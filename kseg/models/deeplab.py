"""DeepLabV3+ (Chen et al., 2018, arXiv:1802.02611, figure 2)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from kseg.models.blocks import broadcast, classify, conv_bn_relu, resize, separable_conv_bn_relu
from kseg.preprocess import Size

# Rates by output stride (arXiv:1706.05587, sec. 4.1); those for 32 are half of those for 16.
ASPP_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
DETAIL_CHANNELS = 48  # Table 1 of the paper.
EDGE_DETAIL_CHANNELS = 32


def deeplab_v3_plus(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 256
) -> keras.Model:
    """DeepLabV3+ on an encoder model that returns features by stride, 8, 16 or 32 at the coarsest.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of ASPP and decoder, 256 in the paper. Convolutions in ASPP and
    decoder are separable, as in the paper's best model.
    """
    features = encoder.output
    output_stride = max(features)
    context = aspp(features[output_stride], ASPP_RATES[output_stride], channels)
    detail = conv_bn_relu(features[4], DETAIL_CHANNELS, name="detail")
    context = resize(context, detail.shape[1:3], name="context_resize")
    x = layers.Concatenate(name="decoder_concat")([context, detail])
    x = separable_conv_bn_relu(x, channels, name="decoder_1")
    x = separable_conv_bn_relu(x, channels, name="decoder_2")
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="deeplab_v3_plus")


def deeplab_v3_plus_edge(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 64
) -> keras.Model:
    """DeepLabV3+ for small devices, on an encoder model that returns features by stride.

    Like `deeplab_v3_plus`, but with the context module of MobileNetV2's paper (`reduced_aspp`), a
    detail branch of 32 channels and one convolution in the decoder. Only the encoder has dilated
    convolutions, and at output stride 32 it has none, so that accelerators without them can run the
    entire model. On MobileNetV2-1.0 at 288x512: 2.93 GFLOPs a frame, 1.87 at output stride 32,
    instead of 6.32.
    """
    features = encoder.output
    context = reduced_aspp(features[max(features)], channels)
    detail = conv_bn_relu(features[4], EDGE_DETAIL_CHANNELS, name="detail")
    context = resize(context, detail.shape[1:3], name="context_resize")
    x = layers.Concatenate(name="decoder_concat")([context, detail])
    x = separable_conv_bn_relu(x, channels, name="decoder_1")
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="deeplab_v3_plus_edge")


def aspp(x: Any, rates: Sequence[int], channels: int) -> Any:
    """Atrous spatial pyramid pooling: one 1x1, three dilated 3x3 and an image-pooling branch."""
    branches = [conv_bn_relu(x, channels, name="aspp_1x1")]
    for rate in rates:
        branches.append(separable_conv_bn_relu(x, channels, dilation=rate, name=f"aspp_rate{rate}"))
    branches.append(image_pooling(x, channels))
    x = layers.Concatenate(name="aspp_concat")(branches)
    x = conv_bn_relu(x, channels, name="aspp_project")
    return layers.Dropout(0.1, name="aspp_dropout")(x)


def reduced_aspp(x: Any, channels: int) -> Any:
    """ASPP without its dilated branches (R-ASPP, arXiv:1801.04381, sec. 6.3)."""
    pixel = conv_bn_relu(x, channels, name="aspp_1x1")
    x = layers.Concatenate(name="aspp_concat")([pixel, image_pooling(x, channels)])
    return conv_bn_relu(x, channels, name="aspp_project")


def image_pooling(x: Any, channels: int) -> Any:
    """The mean of the feature map, projected to `channels` and broadcast to the map's size."""
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    pooled = conv_bn_relu(pooled, channels, name="aspp_image")
    return broadcast(pooled, x.shape[1:3], name="aspp_image_broadcast")
