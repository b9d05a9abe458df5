"""SegFormer (Xie et al., 2021, arXiv:2105.15203): the all-MLP head on a MiT encoder."""

import math

import keras
from keras import layers, ops

from kseg.models.blocks import batch_norm, classify


def segformer(encoder, input_size, num_classes, *, channels=256):
    """SegFormer on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is 256 in the paper's B0 and B1, 768 in B2 to B5 (mit.Variant).
    """
    features = encoder.output
    # Coarsest first, as the published weights have it.
    strides = sorted(features, reverse=True)
    x = ProjectAndFuse(channels, strides, name="head")([features[s] for s in strides])
    x = batch_norm(x, "head_bn", epsilon=1e-5)
    x = layers.ReLU(name="head_relu")(x)
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="segformer")


@keras.saving.register_keras_serializable("kseg")
class ProjectAndFuse(layers.Layer):
    """Each stage projected to `channels`, resized to the finest, concatenated, fused (sec. 3.2).

    Features (B, H_s, W_s, C_s), the finest last -> (B, H, W, channels). The weights are those of
    the paper's 1x1 convolutions, project{stride} and fuse; the work is not. Nothing but resizing
    and concatenation lies between the two, and bilinear resizing commutes with a 1x1 convolution:
    it mixes pixels with weights that sum to one, the convolution mixes channels. So the kernels of
    a stage are multiplied first, one convolution a stage runs at the stage's own size, and the sum
    takes the place of the concatenation: the same values but for rounding, for a fourteenth of the
    multiply-adds in B0 at 288x512, and without the concatenation's memory.
    """

    def __init__(self, channels, strides, **options):  # Keras' own, so that it can be cloned.
        super().__init__(**options)
        self.channels, self.strides = channels, list(strides)
        self.projections = [layers.Conv2D(channels, 1, name=f"project{s}") for s in strides]
        self.fusion = layers.Conv2D(channels, 1, use_bias=False, name="fuse")

    def build(self, input_shapes):
        for projection, shape in zip(self.projections, input_shapes, strict=True):
            projection.build(shape)
        self.fusion.build((*input_shapes[-1][:3], self.channels * len(input_shapes)))

    def call(self, features):
        size = features[-1].shape[1:3]
        parts = ops.split(self.fusion.kernel[0, 0], len(features))
        total, bias = 0, 0
        for x, projection, part in zip(features, self.projections, parts, strict=True):
            kernel = ops.matmul(projection.kernel[0, 0], part)
            bias = bias + ops.matmul(projection.bias, part)
            x = ops.conv(x, kernel[None, None], padding="same")
            if x.shape[1:3] != size:
                x = ops.image.resize(x, size, data_format="channels_last")
            total = total + x
        return total + bias

    def compute_output_shape(self, input_shapes):
        return (*input_shapes[-1][:3], self.channels)

    def multiply_adds(self):
        """Of the paper's two steps for one frame, which tables of other authors count."""
        projected = sum(math.prod(x.shape[1:]) for x in self.input)
        fused = math.prod(self.input[-1].shape[1:3]) * self.channels * len(self.projections)
        return (projected + fused) * self.channels

    def get_config(self):
        return super().get_config() | {"channels": self.channels, "strides": self.strides}
