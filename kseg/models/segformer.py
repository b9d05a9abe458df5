"""SegFormer (Xie et al., 2021, arXiv:2105.15203): the all-MLP head on a MiT encoder."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from kseg.models.blocks import batch_norm, classify
from kseg.models.resize import resize_map
from kseg.preprocess import Size


def segformer(
    encoder: keras.Model, input_size: Size, num_classes: int, *, channels: int = 256
) -> keras.Model:
    """SegFormer on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is 256 in the paper's B0 and B1, 768 in B2 to B5 (mit.Variant).
    """
    features = encoder.output
    # Coarsest first, as in the published weights.
    strides = sorted(features, reverse=True)
    x = ProjectAndFuse(channels, strides, name="head")([features[s] for s in strides])
    x = batch_norm(x, "head_bn", epsilon=1e-5)
    x = layers.ReLU(name="head_relu")(x)
    x = layers.Dropout(0.1, name="head_dropout")(x)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="segformer")


@keras.saving.register_keras_serializable("kseg")
class ProjectAndFuse(layers.Layer):
    """Projects each stage to `channels`, resizes all to the finest, concatenates, fuses (sec. 3.2).

    Features (B, H_s, W_s, C_s), the finest last -> (B, H, W, channels). The weights are those of
    the paper's 1x1 convolutions, project{stride} and fuse, but the computation is reordered. Only
    resizing and concatenation lie between the two convolutions, and bilinear resizing commutes with
    a 1x1 convolution: resizing mixes pixels with weights that sum to one, the convolution mixes
    channels. So the two kernels of a stage are multiplied first, one convolution per stage runs at
    the stage's own size, and a sum replaces the concatenation. The result is the same up to
    rounding, takes a fourteenth of the multiply-adds in B0 at 288x512, and needs no memory for the
    concatenated map.
    """

    by_matrices = False  # See kseg.models.resize.

    # **options: keras.Layer's own (name, dtype), so that the layer can be cloned.
    def __init__(self, channels: int, strides: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.channels, self.strides = channels, list(strides)
        self.projections = [layers.Conv2D(channels, 1, name=f"project{s}") for s in strides]
        self.fusion = layers.Conv2D(channels, 1, use_bias=False, name="fuse")

    def build(self, input_shapes: Sequence[tuple]) -> None:
        for projection, shape in zip(self.projections, input_shapes, strict=True):
            projection.build(shape)
        self.fusion.build((*input_shapes[-1][:3], self.channels * len(input_shapes)))

    def call(self, features: Sequence[Any]) -> Any:
        size = features[-1].shape[1:3]
        fusions = ops.split(self.fusion.kernel[0, 0], len(features))
        total, bias = 0, 0
        for x, projection, fusion in zip(features, self.projections, fusions, strict=True):
            kernel = ops.matmul(projection.kernel[0, 0], fusion)
            bias = bias + ops.matmul(projection.bias, fusion)
            x = ops.conv(x, kernel[None, None], padding="same")
            if x.shape[1:3] != size:
                x = resize_map(x, size, "bilinear", by_matrices=self.by_matrices)
            total = total + x
        return total + bias

    def compute_output_shape(self, input_shapes: Sequence[tuple]) -> tuple:
        return (*input_shapes[-1][:3], self.channels)

    def multiply_adds(self) -> int:
        """Multiply-adds of the paper's two steps for one frame, as published tables count them."""
        projected = sum(math.prod(x.shape[1:]) for x in self.input)
        fused = math.prod(self.input[-1].shape[1:3]) * self.channels * len(self.projections)
        return (projected + fused) * self.channels

    def get_config(self) -> dict:
        return super().get_config() | {"channels": self.channels, "strides": self.strides}
