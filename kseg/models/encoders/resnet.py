"""ResNet-50 and ResNet-101 (He et al., 2015, arXiv:1512.03385, table 1), any output stride.

Equal to keras.applications.ResNet50 and ResNet101 layer by layer (same names, weights and, at
output stride 32, features), except that strides beyond output_stride become dilations
(arXiv:1706.05587, sec. 3.1).
"""

import functools
from typing import Any

import keras
from keras import layers

from kseg.models.blocks import batch_norm
from kseg.models.pretrained import weight_files
from kseg.preprocess import Size

DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
_APPLICATIONS = {"resnet50": "ResNet50", "resnet101": "ResNet101"}
_EPSILON = 1.001e-5  # Of batch norm, as in keras.applications.
_IMAGENET_MEAN = (123.68, 116.779, 103.939)  # RGB in [0, 255], as the published weights expect.


def build(input_size: Size, variant: str = "resnet50", *, output_stride: int = 16) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {stride: features}.

    input_size (height, width); output_stride 8, 16 or 32 is the coarsest stride. The coarsest
    feature is the output of the last stage (2048 channels).
    """
    image = keras.Input((*input_size, 3), name="image")
    x = stem(subtract_mean(image))
    features, stride, dilation = {2: x}, 4, 1
    x = pool(x)
    for stage, depth in enumerate(DEPTHS[variant]):
        stage_stride = 1
        if stage > 0 and stride < output_stride:
            stage_stride, stride = 2, stride * 2
        elif stage > 0:
            # The first block is dilated too, unlike in torchvision. There the stride is in the 3x3
            # convolution; here it is in the 1x1 before it, so that the published 3x3 has only ever
            # seen the coarser grid.
            dilation *= 2
        for block in range(depth):
            x = bottleneck(
                x,
                64 * 2**stage,
                stride=stage_stride if block == 0 else 1,
                dilation=dilation,
                project=block == 0,
                name=f"conv{stage + 2}_block{block + 1}",
            )
        features[stride] = x
    return keras.Model(image, features, name=variant)


def load_weights(encoder: keras.Model, source: str) -> None:
    """Loads weights into an encoder made by `build`.

    source: "none"; "imagenet" (keras.applications downloads its file once); or the path of a
    weights file of the same keras.applications model without top. Raises InputError.
    """
    name = _APPLICATIONS[encoder.name]
    application = functools.partial(
        getattr(keras.applications, name), input_shape=(224, 224, 3), include_top=False
    )
    weight_files.load_keras_applications(encoder, source, application, f"{name} without top")
    if source != "none":
        # The published weights take BGR. Reversing the first kernel once avoids reversing the
        # channels of every frame.
        first = encoder.get_layer("conv1_conv")
        kernel, bias = first.get_weights()
        first.set_weights([kernel[:, :, ::-1], bias])


def subtract_mean(image: Any) -> Any:
    """RGB in [0, 255] minus ImageNet's mean; the standard deviation is not normalised."""
    return layers.Rescaling(1.0, offset=[-mean for mean in _IMAGENET_MEAN], name="normalize")(image)


def stem(x: Any) -> Any:
    """7x7 convolution with stride 2."""
    # Symmetric padding, as in the released weights; "same" pads asymmetrically here.
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    return layers.ReLU(name="conv1_relu")(batch_norm(x, "conv1_bn", _EPSILON))


def pool(x: Any) -> Any:
    """3x3 max pooling with stride 2."""
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def bottleneck(
    x: Any, channels: int, *, stride: int, dilation: int, project: bool, name: str
) -> Any:
    """1x1, 3x3 and 1x1 to four times the channels, added to x (figure 5, right).

    project: the shortcut is a 1x1 convolution, because size or channels change.
    """
    shortcut = x
    if project:
        shortcut = layers.Conv2D(4 * channels, 1, strides=stride, name=f"{name}_0_conv")(x)
        shortcut = batch_norm(shortcut, f"{name}_0_bn", _EPSILON)
    x = layers.Conv2D(channels, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = layers.ReLU(name=f"{name}_1_relu")(batch_norm(x, f"{name}_1_bn", _EPSILON))
    x = layers.Conv2D(channels, 3, padding="same", dilation_rate=dilation, name=f"{name}_2_conv")(x)
    x = layers.ReLU(name=f"{name}_2_relu")(batch_norm(x, f"{name}_2_bn", _EPSILON))
    x = layers.Conv2D(4 * channels, 1, name=f"{name}_3_conv")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, batch_norm(x, f"{name}_3_bn", _EPSILON)])
    return layers.ReLU(name=f"{name}_out")(x)
