"""All models by name: `build` makes one. Each family is one file that follows its paper."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras

from kseg import model_names
from kseg.errors import InputError, nearest
from kseg.models.deeplab import deeplab_v3_plus, deeplab_v3_plus_edge
from kseg.models.encoders import (
    efficientnet_lite,
    efficientnet_v2,
    mit,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
)
from kseg.models.fcn import fcn
from kseg.models.pretrained import segformer_weights
from kseg.models.pspnet import pspnet
from kseg.models.segformer import segformer
from kseg.models.unet import unet, unet_on_encoder
from kseg.preprocess import Size


class Options(NamedTuple):
    """The optional arguments of `build`, which explains them."""

    encoder_alpha: float = 1.0
    output_stride: int = 16
    decoder_channels: int = 0
    encoder_weights: str = "none"
    freeze_encoder: bool = False

    def channels(self) -> dict[str, int]:
        """The argument `channels` of a family's function, empty for its default."""
        return {"channels": self.decoder_channels} if self.decoder_channels else {}


def build(
    name: str,
    input_size: Size,
    num_classes: int,
    *,
    encoder_alpha: float = 1.0,
    output_stride: int = 16,
    decoder_channels: int = 0,
    encoder_weights: str = "none",
    freeze_encoder: bool = False,
) -> keras.Model:
    """Builds a model by name, one of kseg.model_names.MODELS.

    input_size: (height, width), any two integers of at least 32.
    encoder_alpha: width multiplier of MobileNets; other encoders ignore it.
    output_stride: 8, 16 or 32, the coarsest stride of the encoders in kseg.model_names.ENCODERS.
    decoder_channels: width of the decoder; 0 takes the default of the family's file.
    encoder_weights: "none"; "imagenet" (encoders in kseg.model_names.ENCODERS but
    EfficientNet-Lite); "ade20k" or "cityscapes" (SegFormer); or the path of a weights file, from
    keras.applications or, for SegFormer and EfficientNet-Lite, from kseg.import_weights.

    Returns a keras.Model: "image" (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes)
    float32 logits.
    Raises InputError when the name is unknown, when the weights cannot be loaded or belong to
    another encoder, and when the model has no encoder to load or to freeze.
    """
    options = Options(
        encoder_alpha, output_stride, decoder_channels, encoder_weights, freeze_encoder
    )
    return build_with_encoder(name, input_size, num_classes, options)[0]


def build_with_encoder(
    name: str, input_size: Size, num_classes: int, options: Options
) -> tuple[keras.Model, keras.Model | None]:
    """Returns the model of `build` and its encoder, whose layers it shares; None if it has none."""
    if name not in MODELS:
        raise InputError(f"unknown model '{name}'; {nearest(name, MODELS)}")
    return MODELS[name](input_size, num_classes, options)


def _unet(input_size, num_classes, options):
    if options.encoder_weights != "none" or options.freeze_encoder:
        raise InputError(
            f"encoder_weights '{options.encoder_weights}', freeze_encoder "
            f"{options.freeze_encoder}: U-Net has no separate encoder to load or to freeze; use "
            "--encoder-weights none --no-freeze-encoder"
        )
    return unet(input_size, num_classes, **options.channels()), None


def _segformer(variant_name, input_size, num_classes, options):
    variant = mit.VARIANTS[variant_name]
    encoder = mit.build(input_size, variant)
    segformer_weights.load_encoder(encoder, options.encoder_weights, variant_name)
    return _segformer_on(encoder, variant, input_size, num_classes, options)


def _segformer_edge(input_size, num_classes, options):
    if options.encoder_weights != "none":
        raise InputError(
            f"encoder_weights '{options.encoder_weights}': there are no published weights for "
            "SegFormer's edge variant; use --encoder-weights none"
        )
    encoder = mit.build(input_size, mit.EDGE)
    return _segformer_on(encoder, mit.EDGE, input_size, num_classes, options)


def _segformer_on(encoder, variant, input_size, num_classes, options):
    encoder.trainable = not options.freeze_encoder
    channels = options.decoder_channels or variant.decoder_channels
    return segformer(encoder, input_size, num_classes, channels=channels), encoder


def _on_encoder(family, make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    encoder.trainable = not options.freeze_encoder
    return family(encoder, input_size, num_classes, **options.channels()), encoder


def _resnet(variant, input_size, options):
    encoder = resnet.build(input_size, variant, output_stride=options.output_stride)
    resnet.load_weights(encoder, options.encoder_weights)
    return encoder


def _mobilenet_v2(input_size, options):
    alpha, output_stride = options.encoder_alpha, options.output_stride
    encoder = mobilenet_v2.build(input_size, alpha=alpha, output_stride=output_stride)
    mobilenet_v2.load_weights(encoder, options.encoder_weights, alpha=alpha)
    return encoder


def _mobilenet_v3(variant, input_size, options):
    alpha, output_stride = options.encoder_alpha, options.output_stride
    encoder = mobilenet_v3.build(input_size, variant, alpha=alpha, output_stride=output_stride)
    mobilenet_v3.load_weights(encoder, options.encoder_weights, alpha=alpha)
    return encoder


def _efficientnet_v2(variant, input_size, options):
    encoder = efficientnet_v2.build(input_size, variant, output_stride=options.output_stride)
    efficientnet_v2.load_weights(encoder, options.encoder_weights)
    return encoder


def _efficientnet_lite(variant, input_size, options):
    encoder = efficientnet_lite.build(input_size, variant, output_stride=options.output_stride)
    efficientnet_lite.load_weights(encoder, options.encoder_weights)
    return encoder


# Every family here works on every encoder: FAMILY_ENCODER.
_FAMILIES: dict[str, Callable] = {
    "fcn": fcn,
    "unet": unet_on_encoder,
    "pspnet": pspnet,
    "deeplab_v3_plus": deeplab_v3_plus,
}
_ENCODERS: dict[str, Callable] = {
    "resnet50": functools.partial(_resnet, "resnet50"),
    "resnet101": functools.partial(_resnet, "resnet101"),
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_large": functools.partial(_mobilenet_v3, "large"),
    "mobilenet_v3_small": functools.partial(_mobilenet_v3, "small"),
    **{
        f"efficientnet_{variant}": functools.partial(_efficientnet_lite, variant)
        for variant in efficientnet_lite.SCALES
    },
    "efficientnet_v2_b0": functools.partial(_efficientnet_v2, "b0"),
    "efficientnet_v2_b1": functools.partial(_efficientnet_v2, "b1"),
    "efficientnet_v2_b2": functools.partial(_efficientnet_v2, "b2"),
    "efficientnet_v2_b3": functools.partial(_efficientnet_v2, "b3"),
}
# Each takes (input_size, num_classes, options) and returns (model, encoder or None).
MODELS: dict[str, Callable] = {
    "unet": _unet,
    **{
        f"{family}_{encoder}": functools.partial(_on_encoder, _FAMILIES[family], _ENCODERS[encoder])
        for family in model_names.FAMILIES
        for encoder in model_names.ENCODERS
    },
    "deeplab_v3_plus_mobilenet_edge": functools.partial(
        _on_encoder, deeplab_v3_plus_edge, _mobilenet_v2
    ),
    **{
        name: functools.partial(_segformer, name.removeprefix("segformer_"))
        for name in model_names.SEGFORMERS
    },
    "segformer_b0_edge": _segformer_edge,
}
