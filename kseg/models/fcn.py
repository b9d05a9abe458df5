"""FCN (Long et al., 2015, arXiv:1411.4038) on a dilated ResNet."""

import keras
from keras import layers

from kseg.models.blocks import classify, conv_bn_relu
from kseg.preprocess import Size


def fcn(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 512
) -> keras.Model:
    """FCN on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is the width of the head. The default is a quarter of ResNet's 2048 channels
    for every encoder, as in mmsegmentation's FCN on MobileNetV2.

    This is the FCN of today's libraries and tables (torchvision's fcn_resnet50 and mmsegmentation's
    FCN-D8, both at output stride 8), not the paper's. The paper has VGG-16 at stride 32 and adds
    the scores of finer stages while upsampling (FCN-8s). Here, dilation keeps the last stage fine,
    one 3x3 convolution gathers context, and the logits are resized once, bilinearly. The auxiliary
    loss that both libraries put on the stage before is not part of this model.
    """
    features = encoder.output
    x = conv_bn_relu(features[max(features)], channels, 3, name="head")
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="fcn")
