"""The same logits for less work: linear steps that follow each other, multiplied into one."""

import keras
import numpy as np
from keras import layers

from kseg.models.blocks import broadcast, resize


def simplify(model):
    """Returns a model for inference with the logits of `model`, one of kseg.models.build.

    Equal but for rounding (1e-5 relative). It shares the layers of `model`, which stays as it is,
    save those it puts others in the place of. `model` itself comes back where there is nothing to
    multiply: U-Net, FCN, and PSPNet, whose 3x3 convolution behind the pyramid sees zeros beyond the
    border and so does not commute with resizing. Batch norm behind a convolution is left to the
    converter, which folds it.
    """
    names = {layer.name for layer in model.layers}
    if "head" in names:
        return _replace(model, _head_as_convolutions(model))
    if "aspp_image_broadcast" in names:
        return _replace(model, _image_pooling_as_bias(model))
    return model


def _head_as_convolutions(model):
    """SegFormer's head: what ProjectAndFuse multiplies at every call, multiplied once."""
    head = model.get_layer("head")
    (kernel,) = _weights(head.fusion)
    fusion, bias = _folded(kernel, model.get_layer("head_bn"))
    kernels = []
    parts = np.split(fusion, len(head.projections))
    for projection, part in zip(head.projections, parts, strict=True):
        own_kernel, own_bias = _weights(projection)
        kernels.append(own_kernel[0, 0] @ part)
        bias = bias + own_bias @ part

    def join(features):
        size, x = features[-1].shape[1:3], []
        for feature, stride, kernel in zip(features, head.strides, kernels, strict=True):
            # One bias for all; on the coarsest map it is added to the fewest pixels.
            convolve = _pointwise(kernel, None if x else bias, f"head_fused{stride}")
            x.append(resize(convolve(feature), size, name=f"head_resize{stride}"))
        return layers.Add(name="head_sum")(x)

    return {"head": join, "head_bn": _nothing}


def _image_pooling_as_bias(model):
    """DeepLab's ASPP: the image-pooling branch is one vector, so its part of the projection is a
    1x1 convolution of one pixel, added to every pixel like a bias."""
    (kernel,) = _weights(model.get_layer("aspp_project_conv"))
    kernel, bias = _folded(kernel, model.get_layer("aspp_project_bn"))
    pooled_channels = model.get_layer("aspp_image_broadcast").output.shape[-1]
    project = _pointwise(kernel[:-pooled_channels], None, "aspp_fused")
    project_pooled = _pointwise(kernel[-pooled_channels:], bias, "aspp_image_fused")

    def join(branches):
        *branches, pooled = branches
        x = project(layers.Concatenate(name="aspp_concat_fused")(branches))
        pooled = broadcast(project_pooled(pooled), x.shape[1:3], "aspp_image_fused_broadcast")
        return layers.Add(name="aspp_sum")([x, pooled])

    without = ("aspp_image_broadcast", "aspp_project_conv", "aspp_project_bn")
    return {"aspp_concat": join} | dict.fromkeys(without, _nothing)


def _replace(model, replacements):
    """Returns the model with `replacements`, {layer name: function of its input}, put in."""

    def call(layer, *args, **options):
        if layer.name in replacements:
            return replacements[layer.name](*args)
        return layer(*args, **options)

    # Bare: a copy of a compiled model would be compiled too, with losses and metrics copied.
    bare = keras.Model(model.inputs, model.outputs[0], name=model.name)
    return keras.models.clone_model(bare, clone_function=lambda layer: layer, call_function=call)


def _nothing(x):
    return x


def _folded(kernel, norm):
    """A 1x1 convolution's kernel (1, 1, C in, C out) with the batch norm behind it: kernel
    (C in, C out) and bias (C out,), float64."""
    gamma, beta, mean, variance = _weights(norm)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return kernel[0, 0] * scale, beta - mean * scale


def _weights(layer):
    return [w.astype(np.float64) for w in layer.get_weights()]


def _pointwise(kernel, bias, name):
    """A 1x1 convolution layer with these weights, (C in, C out) and (C out,) or None."""
    layer = layers.Conv2D(kernel.shape[1], 1, use_bias=bias is not None, name=name)
    layer.build((None, None, None, kernel.shape[0]))
    layer.set_weights([kernel[None, None]] + ([] if bias is None else [bias]))
    return layer
