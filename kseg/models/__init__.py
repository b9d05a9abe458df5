"""The model zoo. `build` is the only door; each family is one file that reads like its paper."""

from kseg.errors import InputError
from kseg.models.deeplab import deeplab_v3_plus
from kseg.models.encoders import mit, mobilenet_v2
from kseg.models.segformer import segformer


def build(
    name,
    input_size,
    num_classes,
    *,
    encoder_alpha=1.0,
    output_stride=16,
    decoder_channels=256,
    encoder_weights="none",
    freeze_encoder=False,
):
    """Builds a model by name.

    input_size (height, width), any two integers of at least 32. encoder_weights: "none",
    "imagenet" or the path of a keras.applications .weights.h5 file. Returns a keras.Model:
    "image" (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes) float32 logits.
    Raises InputError when weights cannot be had or belong to another encoder.
    """
    if name == "deeplab_v3_plus_mobilenet_v2":
        encoder = mobilenet_v2.build(input_size, alpha=encoder_alpha, output_stride=output_stride)
        mobilenet_v2.load_weights(encoder, encoder_weights, alpha=encoder_alpha)
        encoder.trainable = not freeze_encoder
        return deeplab_v3_plus(
            encoder, input_size, num_classes, output_stride=output_stride, channels=decoder_channels
        )
    if name == "segformer_b0":
        if encoder_weights != "none":
            raise InputError(
                f"encoder_weights '{encoder_weights}': SegFormer trains from scratch only, so "
                "far; use --encoder-weights none"
            )
        encoder = mit.build(input_size, mit.VARIANTS["b0"])
        encoder.trainable = not freeze_encoder
        return segformer(encoder, input_size, num_classes, channels=decoder_channels)
    raise ValueError(f"unknown model '{name}'")
