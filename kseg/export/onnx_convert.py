"""Converts a Keras model to .onnx in a form that TensorRT takes.

tf2onnx, the converter behind Keras' own model.export(format="onnx"), writes the graph; the passes
of this module change what TensorRT or ONNX Runtime would refuse, or compute less well. Opset 13,
of which TensorRT 8 (JetPack 5 and 6) knows all; layer norms stay in primitive operators, because
TensorRT 8.6 does not know LayerNormalization of opset 17 (TensorRT#2875).
"""

import importlib.util
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseg.errors import InputError
from kseg.export import onnx_float16
from kseg.models.guard_classes import LARGEST_LOGIT

OPSET = 13
NO_CLASS = 255  # The id of a pixel with a logit that is not finite, or out of all proportion.


def check_installed() -> None:
    """Raises InputError unless the packages of the extra `onnx` are installed."""
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"--onnx: needs {package}, which is not installed; run ./scripts/install onnx"
            )


def to_onnx(model: keras.Model, precision: str, output: str | None = None) -> bytes:
    """Converts a model (B, H, W, 3) float32 -> (B, H, W, C) logits. Returns the file's bytes.

    The file maps "image" (1, H, W, 3) uint8 to "class_map" (1, H, W) uint8, or for the output
    "logits" to "logits" (1, H, W, C) float32. precision: "fp32", or "fp16" (kseg.export.
    onnx_float16). uint8 on both sides: TensorRT converts it from and to float since 8.5, and it is
    a quarter of what int32 would copy. Raises InputError under JAX.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs the TensorFlow backend, got {keras.backend.backend()}; unset "
            "KERAS_BACKEND (weights trained under JAX load under TensorFlow too)"
        )
    import onnx
    import tf2onnx

    def serve(image: Any) -> dict[str, Any]:
        logits = model(tf.cast(image, tf.float32), training=False)
        return {"logits": logits} if output == "logits" else {"class_map": class_map(logits)}

    image = tf.TensorSpec((1, *model.input_shape[1:3], 3), tf.uint8, name="image")
    converted, _ = tf2onnx.convert.from_function(
        tf.function(serve, input_signature=[image]),
        input_signature=[image],
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _name_output(converted, output or "class_map")
    _resize_to_sizes(converted)
    _divide_by_roots(converted)
    _recognisable_gelu(converted)
    _remove_unused(converted)
    if precision == "fp16":
        converted = onnx_float16.to_float16(converted)
    onnx.checker.check_model(converted, full_check=True)
    return converted.SerializeToString(deterministic=True)


def class_map(logits: Any) -> Any:
    """(B, H, W, C) float32 -> (B, H, W) uint8: the class of the largest logit, the first of equals.

    A pixel with a logit that is NaN, infinite or above LARGEST_LOGIT gets NO_CLASS, which runners
    refuse. Comparisons with NaN are false everywhere, while Cast of NaN is 0 in TensorRT, the lane
    we drive in (TensorRT#4775), and its ArgMax had faults of its own (#1025, #2416, #3677). Ids
    stay float up to the last operator: TensorRT converts only float to uint8.
    """
    first, *others = tf.unstack(logits, axis=-1)
    best, ids, valid = first, 0.0, tf.abs(first) < LARGEST_LOGIT
    for number, logit in enumerate(others, 1):
        ids = tf.where(logit > best, float(number), ids)
        best = tf.maximum(best, logit)
        valid = tf.logical_and(valid, tf.abs(logit) < LARGEST_LOGIT)
    return tf.cast(tf.where(valid, ids, float(NO_CLASS)), tf.uint8)


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) as 1 - Erf(x): ONNX has no Erfc. (The signature is tf2onnx's.)"""
    erfc = node.output[0]
    readers = ctx.find_output_consumers(erfc)
    node.type = "Erf"
    one = ctx.make_const(f"{name}_one", np.float32(1)).output[0]
    difference = ctx.make_node("Sub", [one, erfc], name=f"{name}_one_minus")
    ctx.replace_all_inputs(erfc, difference.output[0], ops=readers)


def _name_output(model: Any, name: str) -> None:
    """tf2onnx names the output of a function with one result by the last operator."""
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = [name if tensor == output.name else tensor for tensor in node.output]
        node.input[:] = [name if tensor == output.name else tensor for tensor in node.input]
    output.name = name


def _resize_to_sizes(model: Any) -> None:
    """Gives each Resize its target size, not a scale, which may be rounded to a pixel less.

    Nearest neighbours by the same rule in terms of mode half_pixel, because tf_half_pixel_for_nn
    is deprecated since opset 13: floor((x + 0.5) scale) is round((x + 0.5) scale - 0.5), upwards.
    """
    import onnx

    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    scales = {node.input[2] for node in resizes}
    for constant in model.graph.initializer:
        if constant.name in scales:  # Rounded down to whole pixels, 10 / 6 of 6 would be 9.
            values = onnx.numpy_helper.to_array(constant) * np.float32(1 + 1e-6)
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*inferred.value_info, *inferred.output)
    }
    for node in resizes:
        sizes = np.array(shapes[node.output[0]], np.int64)
        name = f"{node.name}_sizes"
        model.graph.initializer.append(onnx.numpy_helper.from_array(sizes, name))
        node.input[:] = [node.input[0], "", "", name]
        attributes = {a.name: a for a in node.attribute}
        if attributes["coordinate_transformation_mode"].s == b"tf_half_pixel_for_nn":
            attributes["coordinate_transformation_mode"].s = b"half_pixel"
            attributes["nearest_mode"].s = b"round_prefer_ceil"


def _divide_by_roots(model: Any) -> None:
    """Replaces Reciprocal by 1 / x: TensorRT 8's table of operators does not have it."""
    import onnx

    one = onnx.numpy_helper.from_array(np.float32(1), "one")
    for node in (node for node in model.graph.node if node.op_type == "Reciprocal"):
        node.op_type = "Div"
        node.input.insert(0, one.name)
    model.graph.initializer.append(one)


def _recognisable_gelu(model: Any) -> None:
    """Rewrites 1 - Erf(-x c) as 1 + Erf(x c), the form of GELU that runtimes fuse."""
    graph = model.graph
    producer = {tensor: node for node in graph.node for tensor in node.output}
    for subtraction in (node for node in graph.node if node.op_type == "Sub"):
        erf = producer.get(subtraction.input[1])
        if erf is None or erf.op_type != "Erf":
            continue
        scale = producer[erf.input[0]]
        negation = next(
            (producer[t] for t in scale.input if t in producer and producer[t].op_type == "Neg"),
            None,
        )
        if scale.op_type != "Mul" or negation is None:
            continue
        scale.input[list(scale.input).index(negation.output[0])] = negation.input[0]
        subtraction.op_type = "Add"


def _remove_unused(model: Any) -> None:
    """Removes nodes and constants that nothing reads, and domains that no operator is of."""
    graph = model.graph
    outputs = {output.name for output in graph.output}
    while True:
        read = {tensor for node in graph.node for tensor in node.input} | outputs
        unused = [node for node in graph.node if not read & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    domains = {node.domain for node in graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    constants = [constant for constant in graph.initializer if constant.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
