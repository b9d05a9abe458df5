"""The compute cost of a model: multiply-adds, counted from its layers."""

import math

import keras
from keras import layers

from kseg.models.encoders.mit import DotProductAttention
from kseg.models.segformer import ProjectAndFuse


def multiply_adds(model: keras.Model) -> int:
    """Returns the multiply-adds of convolutions and attention for one frame (FLOPs are twice that).

    Norms, activations and resizing are left out, as in papers. SegFormer's head is counted as the
    two steps of its paper, although ProjectAndFuse computes it with fewer.
    """
    return sum(_layer_multiply_adds(layer) for layer in model.layers)


def _layer_multiply_adds(layer):
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        height, width = layer.output.shape[1:3]
        return height * width * math.prod(layer.kernel.shape)
    if isinstance(layer, DotProductAttention):
        query, key, _ = layer.input
        heads, queries, channels = query.shape[1:]
        return 2 * heads * queries * key.shape[2] * channels  # q k^T and its product with v.
    if isinstance(layer, ProjectAndFuse):
        return layer.multiply_adds()
    return 0
