"""MiT, the Mix Transformer encoder of SegFormer (Xie et al., 2021, arXiv:2105.15203, figure 2).

It takes any input size: feature maps stay (B, H, W, C) and token mixing is written as 1x1
convolutions. Only attention flattens the maps, to [B, heads, N, d] with static N. Nothing assumes a
square image.
"""

from typing import Any, NamedTuple

import keras
from keras import layers, ops

from kseg.models.blocks import batch_norm
from kseg.models.encoders.preprocessing import normalize_imagenet
from kseg.preprocess import Size


class Variant(NamedTuple):
    """One column of the paper's table 6; fields with a default are the same in all columns.

    Depths and expansion are those of the published weights. decoder_channels is the width of
    SegFormer's head on this encoder.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    decoder_channels: int
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    expansion: int = 4
    stochastic_depth: float = 0.1
    norm: str = "layer"  # Or "batch".
    # In the feed-forward network. GELU is the erf form, as in the paper's code, not the tanh
    # approximation; it is one operator in a .tflite.
    activation: str = "gelu"


VARIANTS = {
    "b0": Variant((32, 64, 160, 256), (2, 2, 2, 2), decoder_channels=256),
    "b1": Variant((64, 128, 320, 512), (2, 2, 2, 2), decoder_channels=256),
    "b2": Variant((64, 128, 320, 512), (3, 4, 6, 3), decoder_channels=768),
    "b3": Variant((64, 128, 320, 512), (3, 4, 18, 3), decoder_channels=768),
    "b4": Variant((64, 128, 320, 512), (3, 8, 27, 3), decoder_channels=768),
    "b5": Variant((64, 128, 320, 512), (3, 6, 40, 3), decoder_channels=768),
}

# B0 for accelerators; it has no published weights. Layer norm needs means and a square root, which
# some GPUs compute wrongly in fp16. Batch norm at inference is one multiplication and one addition,
# and a preceding convolution absorbs both. ReLU is the same in every delegate; GELU is not. The
# head, which has more than half of B0's multiplications, is half as wide. At 288x512 this takes
# 4.45 GFLOPs a frame instead of 8.23; the loss of accuracy has not been measured.
EDGE = VARIANTS["b0"]._replace(decoder_channels=128, norm="batch", activation="relu")


def build(input_size: Size, variant: Variant) -> keras.Model:
    """Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> {4: ..., ..., 32: ...}."""
    image = keras.Input((*input_size, 3), name="image")
    x = normalize_imagenet(image)
    total, number, features = sum(variant.depths), 0, {}
    for stage, (channels, depth) in enumerate(zip(variant.channels, variant.depths, strict=True)):
        name = f"stage{stage + 1}"
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        x = overlap_patch_embedding(x, channels, kernel, stride, variant.norm, name)
        for block in range(depth):
            drop = variant.stochastic_depth * number / (total - 1)
            prefix = f"{name}_block{block + 1}"
            y = norm(x, variant.norm, f"{prefix}_norm1")
            y = efficient_attention(y, variant, stage, f"{prefix}_attention")
            x = layers.Add(name=f"{prefix}_add1")(
                [x, StochasticDepth(drop, name=f"{prefix}_drop1")(y)]
            )
            y = mix_ffn(norm(x, variant.norm, f"{prefix}_norm2"), variant, f"{prefix}_ffn")
            x = layers.Add(name=f"{prefix}_add2")(
                [x, StochasticDepth(drop, name=f"{prefix}_drop2")(y)]
            )
            number += 1
        x = norm(x, variant.norm, f"{name}_norm")
        features[4 * 2**stage] = x
    return keras.Model(image, features, name="mit")


def overlap_patch_embedding(
    x: Any, channels: int, kernel: int, stride: int, norm_kind: str, name: str
) -> Any:
    """Strided convolution with overlapping windows (sec. 3.1), then a norm."""
    # Symmetric padding, as in the released weights; "same" pads asymmetrically here.
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_embed_pad")(x)
    x = layers.Conv2D(channels, kernel, strides=stride, name=f"{name}_embed")(x)
    return norm(x, norm_kind, f"{name}_embed_norm", epsilon=1e-5)


def efficient_attention(x: Any, variant: Variant, stage: int, name: str) -> Any:
    """Multi-head self-attention with keys and values from a map that is smaller by
    variant.reductions[stage] on each side (sec. 3.1, equation 2). stage counts from 0."""
    height, width, channels = x.shape[1:]
    heads, reduction = variant.heads[stage], variant.reductions[stage]
    context = x
    if reduction > 1:
        # At least one key, even from a map smaller than the reduction.
        kernel = (min(reduction, height), min(reduction, width))
        context = layers.Conv2D(channels, kernel, strides=kernel, name=f"{name}_reduce")(context)
        context = norm(context, variant.norm, f"{name}_reduce_norm", epsilon=1e-5)
    query = _split_heads(
        layers.Conv2D(channels, 1, name=f"{name}_query")(x), heads, name + "_query"
    )
    key = _split_heads(
        layers.Conv2D(channels, 1, name=f"{name}_key")(context), heads, name + "_key"
    )
    value = _split_heads(
        layers.Conv2D(channels, 1, name=f"{name}_value")(context), heads, name + "_value"
    )
    mixed = DotProductAttention(name=name)([query, key, value])
    mixed = layers.Permute((2, 1, 3), name=f"{name}_merge")(mixed)
    mixed = layers.Reshape((height, width, channels), name=f"{name}_map")(mixed)
    return layers.Conv2D(channels, 1, name=f"{name}_project")(mixed)


def mix_ffn(x: Any, variant: Variant, name: str) -> Any:
    """1x1, 3x3 depthwise (which encodes position), GELU, 1x1 (sec. 3.1, equation 3)."""
    channels = x.shape[-1]
    x = layers.Conv2D(variant.expansion * channels, 1, name=f"{name}_expand")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)
    x = layers.Activation(variant.activation, name=f"{name}_{variant.activation}")(x)
    return layers.Conv2D(channels, 1, name=f"{name}_project")(x)


def norm(x: Any, kind: str, name: str, epsilon: float = 1e-6) -> Any:
    """Layer norm over channels, or batch norm if `kind` is "batch"."""
    if kind == "batch":
        return batch_norm(x, name, epsilon=1e-5)
    return layers.LayerNormalization(epsilon=epsilon, name=name)(x)


def _split_heads(x, heads, name):
    """(B, H, W, C) -> (B, heads, H*W, C/heads)."""
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height * width, heads, channels // heads), name=f"{name}_tokens")(x)
    return layers.Permute((2, 1, 3), name=f"{name}_heads")(x)


def attention_weights(query: Any, key: Any) -> Any:
    """softmax(q k^T / sqrt(d)) for query (B, h, N, d) and key (B, h, M, d): (B, h, N, M)."""
    # Scaling the query instead of the scores: N*d multiplications instead of N*M, same value.
    query = query * query.shape[-1] ** -0.5
    return ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))


@keras.saving.register_keras_serializable("kseg")
class DotProductAttention(layers.Layer):
    """softmax(q k^T / sqrt(d)) v for query (B, h, N, d), key and value (B, h, M, d)."""

    def call(self, inputs: Any) -> Any:
        query, key, value = inputs
        return ops.matmul(attention_weights(query, key), value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]


@keras.saving.register_keras_serializable("kseg")
class StochasticDepth(layers.Layer):
    """Drops the residual branch of entire examples during training (arXiv:1603.09382).

    Kept branches are scaled by 1 / (1 - rate).
    """

    # **options: keras.Layer's own (name, dtype), so that the layer can be cloned.
    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (ops.shape(x)[0], 1, 1, 1)
        kept = ops.floor(keras.random.uniform(shape, seed=self.seed_generator) + keep)
        return x * ops.cast(kept, x.dtype) / keep
