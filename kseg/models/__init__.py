"""All models by name: `build` makes one. Each family is one file that reads like its paper."""

import functools
from typing import NamedTuple

import keras

from kseg import model_names
from kseg.errors import InputError, nearest
from kseg.models.deeplab import deeplab_v3_plus, deeplab_v3_plus_edge
from kseg.models.encoders import efficientnet_v2, mit, mobilenet_v2, mobilenet_v3, resnet
from kseg.models.fcn import fcn
from kseg.models.pretrained import segformer_weights
from kseg.models.pspnet import pspnet
from kseg.models.segformer import segformer
from kseg.models.unet import unet, unet_on_encoder


class Options(NamedTuple):
    """Options of `build` beyond name, size and number of classes; `build` explains them."""

    encoder_alpha: float = 1.0
    output_stride: int = 16
    decoder_channels: int = 0
    encoder_weights: str = "none"
    freeze_encoder: bool = False


def build(
    name,
    input_size,
    num_classes,
    *,
    encoder_alpha=1.0,
    output_stride=16,
    decoder_channels=0,
    encoder_weights="none",
    freeze_encoder=False,
):
    """Builds a model by name, one of MODELS.

    input_size (height, width), any two integers of at least 32. encoder_alpha widens MobileNets
    alone; output_stride is that of ENCODERS. decoder_channels 0: the width that each family's file
    gives. encoder_weights: "none", "imagenet" (ENCODERS), "ade20k" or "cityscapes" (SegFormer), or
    the path of a weights file, of keras.applications or, for SegFormer, of kseg.import_weights.
    Returns a keras.Model: "image" (B, H, W, 3) float32 RGB in [0, 255] -> (B, H, W, num_classes)
    float32 logits.
    Raises InputError when there is no such model, when weights cannot be had or belong to another
    encoder, and when there is no encoder to load or to freeze.
    """
    options = Options(
        encoder_alpha, output_stride, decoder_channels, encoder_weights, freeze_encoder
    )
    return build_with_encoder(name, input_size, num_classes, options)[0]


def build_with_encoder(
    name: str, input_size: tuple[int, int], num_classes: int, options: Options
) -> tuple[keras.Model, keras.Model | None]:
    """Returns the model of `build` and its encoder, whose layers it shares; None: it has none."""
    if name not in MODELS:
        raise InputError(f"unknown model '{name}'; {nearest(name, MODELS)}")
    return MODELS[name](input_size, num_classes, options)


def _unet(input_size, num_classes, options):
    if options.encoder_weights != "none" or options.freeze_encoder:
        raise InputError(
            f"encoder_weights '{options.encoder_weights}', freeze_encoder "
            f"{options.freeze_encoder}: U-Net has no encoder of its own to load or to freeze; use "
            "--encoder-weights none --no-freeze-encoder"
        )
    return unet(input_size, num_classes, channels=options.decoder_channels or 64), None


def _fcn(make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    channels = options.decoder_channels or 512
    return fcn(encoder, input_size, num_classes, channels=channels), encoder


def _unet_on_encoder(make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    channels = options.decoder_channels or 256
    return unet_on_encoder(encoder, input_size, num_classes, channels=channels), encoder


def _pspnet(make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    channels = options.decoder_channels or 512
    return pspnet(encoder, input_size, num_classes, channels=channels), encoder


def _deeplab(make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    model = deeplab_v3_plus(
        encoder,
        input_size,
        num_classes,
        output_stride=options.output_stride,
        channels=options.decoder_channels or 256,
    )
    return model, encoder


def _deeplab_edge(make_encoder, input_size, num_classes, options):
    encoder = make_encoder(input_size, options)
    model = deeplab_v3_plus_edge(
        encoder,
        input_size,
        num_classes,
        output_stride=options.output_stride,
        channels=options.decoder_channels or 64,
    )
    return model, encoder


def _segformer(name, input_size, num_classes, options):
    variant = mit.VARIANTS[name]
    encoder = mit.build(input_size, variant)
    segformer_weights.load_encoder(encoder, options.encoder_weights, name)
    return _segformer_on(encoder, variant, input_size, num_classes, options)


def _segformer_edge(input_size, num_classes, options):
    if options.encoder_weights != "none":
        raise InputError(
            f"encoder_weights '{options.encoder_weights}': nobody publishes any for SegFormer's "
            "edge variant; use --encoder-weights none"
        )
    encoder = mit.build(input_size, mit.EDGE)
    return _segformer_on(encoder, mit.EDGE, input_size, num_classes, options)


def _segformer_on(encoder, variant, input_size, num_classes, options):
    encoder.trainable = not options.freeze_encoder
    channels = options.decoder_channels or variant.decoder_channels
    return segformer(encoder, input_size, num_classes, channels=channels), encoder


def _resnet(variant, input_size, options):
    encoder = resnet.build(input_size, variant, output_stride=options.output_stride)
    resnet.load_weights(encoder, options.encoder_weights)
    encoder.trainable = not options.freeze_encoder
    return encoder


def _mobilenet_v2(input_size, options):
    alpha = options.encoder_alpha
    encoder = mobilenet_v2.build(input_size, alpha=alpha, output_stride=options.output_stride)
    mobilenet_v2.load_weights(encoder, options.encoder_weights, alpha=alpha)
    encoder.trainable = not options.freeze_encoder
    return encoder


def _mobilenet_v3(variant, input_size, options):
    alpha, output_stride = options.encoder_alpha, options.output_stride
    encoder = mobilenet_v3.build(input_size, variant, alpha=alpha, output_stride=output_stride)
    mobilenet_v3.load_weights(encoder, options.encoder_weights, alpha=alpha)
    encoder.trainable = not options.freeze_encoder
    return encoder


def _efficientnet_v2(variant, input_size, options):
    encoder = efficientnet_v2.build(input_size, variant, output_stride=options.output_stride)
    efficientnet_v2.load_weights(encoder, options.encoder_weights)
    encoder.trainable = not options.freeze_encoder
    return encoder


# Each returns (model, encoder) for (input_size, num_classes, options), after its encoder builder.
_FAMILIES = {
    "fcn": _fcn,
    "unet": _unet_on_encoder,
    "pspnet": _pspnet,
    "deeplab_v3_plus": _deeplab,
}
_ENCODERS = {
    "resnet50": functools.partial(_resnet, "resnet50"),
    "resnet101": functools.partial(_resnet, "resnet101"),
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_large": functools.partial(_mobilenet_v3, "large"),
    "mobilenet_v3_small": functools.partial(_mobilenet_v3, "small"),
    "efficientnet_v2_b0": functools.partial(_efficientnet_v2, "b0"),
    "efficientnet_v2_b1": functools.partial(_efficientnet_v2, "b1"),
    "efficientnet_v2_b2": functools.partial(_efficientnet_v2, "b2"),
    "efficientnet_v2_b3": functools.partial(_efficientnet_v2, "b3"),
}
MODELS = {
    "unet": _unet,
    **{
        f"{family}_{encoder}": functools.partial(_FAMILIES[family], _ENCODERS[encoder])
        for family in model_names.FAMILIES
        for encoder in model_names.ENCODERS
    },
    "deeplab_v3_plus_mobilenet_edge": functools.partial(_deeplab_edge, _mobilenet_v2),
    **{
        name: functools.partial(_segformer, name.removeprefix("segformer_"))
        for name in model_names.SEGFORMERS
    },
    "segformer_b0_edge": _segformer_edge,
}
