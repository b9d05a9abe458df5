"""DeepLabV3+ (Chen et al., 2018, arXiv:1802.02611, figure 2)."""

import keras
from keras import layers

from kseg.models.blocks import broadcast, classify, conv_bn_relu, resize, separable_conv_bn_relu

# Rates by output stride (arXiv:1706.05587, sec. 4.1); 32 continues the halving.
ASPP_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
DETAIL_CHANNELS = 48  # Table 1 of the paper.
EDGE_DETAIL_CHANNELS = 32


def deeplab_v3_plus(encoder, input_size, num_classes, *, output_stride=16, channels=256):
    """DeepLabV3+ on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of ASPP and decoder, 256 in the paper. Its convolutions are
    separable in ASPP and decoder, as the paper's best.
    """
    features = encoder.output
    context = aspp(features[output_stride], ASPP_RATES[output_stride], channels)
    detail = conv_bn_relu(features[4], DETAIL_CHANNELS, name="detail")
    context = resize(context, detail.shape[1:3], name="context_resize")
    x = layers.Concatenate(name="decoder_concat")([context, detail])
    x = separable_conv_bn_relu(x, channels, name="decoder_1")
    x = separable_conv_bn_relu(x, channels, name="decoder_2")
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="deeplab_v3_plus")


def deeplab_v3_plus_edge(encoder, input_size, num_classes, *, output_stride=16, channels=64):
    """DeepLabV3+ for small devices, on an encoder model that returns features by stride.

    As `deeplab_v3_plus`, but with the context of MobileNetV2's paper (`reduced_aspp`), a detail of
    32 channels and one convolution in the decoder. Dilation is left in the encoder alone, and there
    is none at output stride 32: accelerators without dilated convolutions run it whole. On
    MobileNetV2-1.0 at 288x512: 2.93 GFLOPs a frame, 1.87 at output stride 32, instead of 6.32.
    """
    features = encoder.output
    context = reduced_aspp(features[output_stride], channels)
    detail = conv_bn_relu(features[4], EDGE_DETAIL_CHANNELS, name="detail")
    context = resize(context, detail.shape[1:3], name="context_resize")
    x = layers.Concatenate(name="decoder_concat")([context, detail])
    x = separable_conv_bn_relu(x, channels, name="decoder_1")
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="deeplab_v3_plus_edge")


def aspp(x, rates, channels):
    """Atrous spatial pyramid pooling: one 1x1, three dilated 3x3 and an image-pooling branch."""
    branches = [conv_bn_relu(x, channels, name="aspp_1x1")]
    for rate in rates:
        branches.append(separable_conv_bn_relu(x, channels, dilation=rate, name=f"aspp_rate{rate}"))
    branches.append(image_pooling(x, channels))
    x = layers.Concatenate(name="aspp_concat")(branches)
    x = conv_bn_relu(x, channels, name="aspp_project")
    return layers.Dropout(0.1, name="aspp_dropout")(x)


def reduced_aspp(x, channels):
    """ASPP without its dilated branches (R-ASPP, arXiv:1801.04381, sec. 6.3)."""
    pixel = conv_bn_relu(x, channels, name="aspp_1x1")
    x = layers.Concatenate(name="aspp_concat")([pixel, image_pooling(x, channels)])
    return conv_bn_relu(x, channels, name="aspp_project")


def image_pooling(x, channels):
    """The map's mean, projected and spread over the map again."""
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    pooled = conv_bn_relu(pooled, channels, name="aspp_image")
    return broadcast(pooled, x.shape[1:3], name="aspp_image_broadcast")
