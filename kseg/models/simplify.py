"""A model for inference with consecutive linear layers merged: same logits, less computation."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from kseg.models.blocks import broadcast, resize


def simplify(model: keras.Model) -> keras.Model:
    """Returns a model for inference with the logits of `model`, which kseg.models.build made.

    Logits are equal up to rounding (1e-5 relative). The result shares the layers of `model` that it
    does not replace; `model` is not changed. U-Net, FCN and PSPNet are returned as they are: they
    have nothing to merge. (PSPNet's 3x3 convolution after the pyramid pads with zeros, and so does
    not commute with resizing.) Batch norm after a convolution is left to the converter, which folds
    it. Raises ValueError on a family that is not in _REPLACEMENTS, and where the layers to replace
    are missing.
    """
    if model.name not in _REPLACEMENTS:
        raise ValueError(f"model '{model.name}' is of no known family; add it to _REPLACEMENTS")
    find_replacements = _REPLACEMENTS[model.name]
    return replace_layers(model, find_replacements(model)) if find_replacements else model


def _head_as_convolutions(model):
    """SegFormer's head: multiplies once the kernels that ProjectAndFuse multiplies each call."""
    head = model.get_layer("head")
    (kernel,) = _weights(head.fusion)
    fusion, bias = _folded(kernel, model.get_layer("head_bn"))
    kernels = []
    fusions = np.split(fusion, len(head.projections))
    for projection, stage_fusion in zip(head.projections, fusions, strict=True):
        projection_kernel, projection_bias = _weights(projection)
        kernels.append(projection_kernel[0, 0] @ stage_fusion)
        bias = bias + projection_bias @ stage_fusion

    def join(features):
        size, x = features[-1].shape[1:3], []
        for feature, stride, kernel in zip(features, head.strides, kernels, strict=True):
            # One bias for the sum, on the coarsest map: there it is added to the fewest pixels.
            convolve = pointwise(kernel, None if x else bias, f"head_fused{stride}")
            x.append(resize(convolve(feature), size, name=f"head_resize{stride}"))
        return layers.Add(name="head_sum")(x)

    return {"head": join, "head_bn": _identity}


def _image_pooling_as_bias(model):
    """DeepLab's ASPP: the image-pooling branch is one vector, so its share of the projection is a
    1x1 convolution of one pixel, which is added to every pixel like a bias."""
    (kernel,) = _weights(model.get_layer("aspp_project_conv"))
    kernel, bias = _folded(kernel, model.get_layer("aspp_project_bn"))
    pooled_channels = model.get_layer("aspp_image_broadcast").output.shape[-1]
    project = pointwise(kernel[:-pooled_channels], None, "aspp_fused")
    project_pooled = pointwise(kernel[-pooled_channels:], bias, "aspp_image_fused")

    def join(branches):
        *branches, pooled = branches
        x = project(layers.Concatenate(name="aspp_concat_fused")(branches))
        pooled = broadcast(project_pooled(pooled), x.shape[1:3], "aspp_image_fused_broadcast")
        return layers.Add(name="aspp_sum")([x, pooled])

    removed = ("aspp_image_broadcast", "aspp_project_conv", "aspp_project_bn")
    return {"aspp_concat": join} | dict.fromkeys(removed, _identity)


# By the name of the model, a function (model) -> {layer name: function of the layer's inputs}; None
# for families with nothing to merge.
_REPLACEMENTS: dict[str, Callable | None] = {
    "segformer": _head_as_convolutions,
    "deeplab_v3_plus": _image_pooling_as_bias,
    "deeplab_v3_plus_edge": _image_pooling_as_bias,
    "unet": None,
    "fcn": None,
    "pspnet": None,
}


def replace_layers(model: keras.Model, replacements: Mapping[str, Callable]) -> keras.Model:
    """Returns the model with the layers named in `replacements` replaced by functions.

    Raises ValueError when the model lacks one of them.
    """
    missing = replacements.keys() - {layer.name for layer in model.layers}
    if missing:
        raise ValueError(f"{model.name}: has no layers {', '.join(sorted(missing))}")

    def call(layer, *args, **options):
        if layer.name in replacements:
            return replacements[layer.name](*args)
        return layer(*args, **options)

    # Without the compilation: a clone of a compiled model gets copies of its losses and metrics.
    uncompiled = keras.Model(model.inputs, model.outputs[0], name=model.name)
    return keras.models.clone_model(
        uncompiled, clone_function=lambda layer: layer, call_function=call
    )


def _identity(x: Any) -> Any:
    return x


def _folded(kernel, norm):
    """Folds a batch norm into the 1x1 convolution before it, of kernel (1, 1, C in, C out).

    Returns kernel (C in, C out) and bias (C out,), float64.
    """
    gamma, beta, mean, variance = _weights(norm)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return kernel[0, 0] * scale, beta - mean * scale


def _weights(layer):
    return [w.astype(np.float64) for w in layer.get_weights()]


def pointwise(kernel: np.ndarray, bias: np.ndarray | None, name: str) -> layers.Conv2D:
    """A 1x1 convolution layer with a kernel (C in, C out) and a bias (C out,) or None."""
    layer = layers.Conv2D(kernel.shape[1], 1, use_bias=bias is not None, name=name)
    layer.build((None, None, None, kernel.shape[0]))
    layer.set_weights([kernel[None, None]] + ([] if bias is None else [bias]))
    return layer
