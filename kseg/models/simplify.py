"""The same logits for less work: linear steps that follow each other, multiplied into one."""

import keras
import numpy as np
from keras import layers

from kseg.models.blocks import broadcast


def simplify(model):
    """Returns a model for inference with the logits of `model`, one of kseg.models.build.

    Equal but for rounding (1e-5 relative). It shares the layers of `model`, which stays as it is,
    save those it puts others in the place of. `model` itself comes back where there is nothing to
    multiply: U-Net, FCN, and PSPNet, whose 3x3 convolution behind the pyramid sees zeros beyond the
    border and so does not commute with resizing. Batch norm behind a convolution is left to the
    converter, which folds it.
    """
    names = {layer.name for layer in model.layers}
    if "head_concat" in names:
        return _replace(model, _projections_times_fusion(model))
    if "aspp_image_broadcast" in names:
        return _replace(model, _image_pooling_as_bias(model))
    return model


def _projections_times_fusion(model):
    """SegFormer's head: each stage's projection times its part of the fusion, at its own size.

    Only resizing and concatenation lie between them, and bilinear resizing commutes with a 1x1
    convolution: it mixes pixels with weights that sum to one, the convolution mixes channels.
    """
    fusion, bias = _folded(model, "head_fuse")
    kernels, start = {}, 0
    for stride in (32, 16, 8, 4):  # The order in which all_mlp_head concatenates.
        kernel, own_bias = _weights(model, f"head_project{stride}")
        part = fusion[start : start + len(own_bias)]
        kernels[stride] = kernel[0, 0] @ part
        bias = bias + own_bias @ part
        start += len(own_bias)
    replacements = {
        f"head_project{stride}": _pointwise(
            # One bias for all; on the coarsest map it is added to the fewest pixels.
            kernel,
            bias if stride == 32 else None,
            f"head_fused{stride}",
        )
        for stride, kernel in kernels.items()
    }
    replacements["head_concat"] = layers.Add(name="head_sum")
    return replacements | dict.fromkeys(("head_fuse_conv", "head_fuse_bn"), _nothing)


def _image_pooling_as_bias(model):
    """DeepLab's ASPP: the image-pooling branch is one vector, so its part of the projection is a
    1x1 convolution of one pixel, added to every pixel like a bias."""
    kernel, bias = _folded(model, "aspp_project")
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


def _folded(model, name):
    """Kernel (C in, C out) and bias (C out,) of a 1x1 conv_bn_relu before its ReLU, float64."""
    (kernel,) = _weights(model, f"{name}_conv")
    gamma, beta, mean, variance = _weights(model, f"{name}_bn")
    scale = gamma / np.sqrt(variance + model.get_layer(f"{name}_bn").epsilon)
    return kernel[0, 0] * scale, beta - mean * scale


def _weights(model, name):
    return [w.astype(np.float64) for w in model.get_layer(name).get_weights()]


def _pointwise(kernel, bias, name):
    """A 1x1 convolution layer with these weights, (C in, C out) and (C out,) or None."""
    layer = layers.Conv2D(kernel.shape[1], 1, use_bias=bias is not None, name=name)
    layer.build((None, None, None, kernel.shape[0]))
    layer.set_weights([kernel[None, None]] + ([] if bias is None else [bias]))
    return layer
