"""FCN (Long et al., 2015, arXiv:1411.4038) on a dilated ResNet."""

import keras
from keras import layers

from kseg.models.blocks import classify, conv_bn_relu


def fcn(encoder, input_size, num_classes, *, channels=512):
    """FCN on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of the head, a quarter of ResNet's 2048 channels by default,
    and as wide on other encoders, as mmsegmentation's on MobileNetV2.

    The FCN of today's libraries and tables (torchvision's fcn_resnet50 and mmsegmentation's FCN-D8,
    both at output stride 8), not the paper's: there, VGG-16 at stride 32 and scores of finer stages
    added on the way up (FCN-8s); here, dilation keeps the last stage fine, one 3x3 convolution
    looks around each pixel, and the logits are resized once, bilinearly. Their auxiliary loss on
    the stage before is not part of this model.
    """
    features = encoder.output
    x = conv_bn_relu(features[max(features)], channels, 3, name="head")
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="fcn")
