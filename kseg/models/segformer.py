"""SegFormer (Xie et al., 2021, arXiv:2105.15203): the all-MLP head on a MiT encoder."""

import keras
from keras import layers

from kseg.models.blocks import classify, conv_bn_relu, resize


def segformer(encoder, input_size, num_classes, *, channels=256):
    """SegFormer on an encoder model that returns features by stride.

    Returns a keras.Model: (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32
    logits. channels is 256 in the paper's B0 and B1, 768 in B2 to B5 (mit.Variant).
    """
    x = all_mlp_head(encoder.output, channels)
    logits = classify(x, num_classes, input_size)
    return keras.Model(encoder.input, logits, name="segformer")


def all_mlp_head(features, channels):
    """Each stage projected to `channels`, resized to stride 4, concatenated, fused (sec. 3.2)."""
    size = features[4].shape[1:3]
    # Coarsest first, as the published weights have it.
    strides = sorted(features, reverse=True)
    projected = [layers.Conv2D(channels, 1, name=f"head_project{s}")(features[s]) for s in strides]
    resized = [
        resize(p, size, name=f"head_resize{s}") for p, s in zip(projected, strides, strict=True)
    ]
    x = layers.Concatenate(name="head_concat")(resized)
    x = conv_bn_relu(x, channels, name="head_fuse")
    return layers.Dropout(0.1, name="head_dropout")(x)
