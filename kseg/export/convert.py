"""Converts a Keras model to .tflite: batch 1, static shapes, builtin operators only."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from kseg import contract, files
from kseg.errors import InputError
from kseg.export.profiles import PROFILES, Profile
from kseg.models.guard_classes import add_guard_classes


class Form(NamedTuple):
    """Input and output of a file: "image" (1, H, W, 3) raw RGB -> "class_map" or "logits"."""

    image_dtype: str  # uint8 or float32, 0..255 in both cases
    output: str  # class-map (1, H, W) uint8 ids, or logits (1, H, W, C) float32
    guard_classes: bool = True  # ARG_MAX over the channels of kseg.models.guard_classes


def form(profile: Profile, output: str | None = None) -> Form:
    """Returns the Form of a profile's files. output: None means the profile's default.

    Raises InputError when the profile does not have that output.
    """
    output = output or profile.outputs[0]
    if output not in profile.outputs:
        raise InputError(
            f"--output {output}: {profile.runtime} has no ARG_MAX; with --profile {profile.name} "
            f"use {' or '.join(profile.outputs)}"
        )
    return Form(profile.image_dtype, output)


def to_tflite(
    model: keras.Model,
    precision: str,
    profile: Profile = PROFILES["cpu"],
    output: str | None = None,
) -> bytes:
    """Converts a model (B, H, W, 3) float32 -> (B, H, W, C) logits. Returns the file's bytes.

    The file contains normalisation and resizing, and the argmax unless the output is logits.
    precision: of the weights, "fp32", "fp16", or "int8-dynamic" (activations are quantized at run
    time). "int8" and "int16x8" need frames to calibrate on: kseg.export.quantize and
    kseg.export.quantize_int16x8 write those. Raises InputError under JAX.
    """
    with saved_model(model, form(profile, output)) as folder:
        converter = from_saved_model(folder)
        if precision in ("fp16", "int8-dynamic"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        tflite = converter.convert()
    return _with_float_depthwise(tflite) if precision == "int8-dynamic" else tflite


def _with_float_depthwise(tflite: bytes) -> bytes:
    """Stores the filters of depthwise convolutions of an int8-dynamic file as float32.

    LiteRT has no fast kernel for int8 filters on float activations there: 6.4 instead of 1.0 of
    24 ms of a SegFormer-B0. These filters are small.
    """
    model = contract.unpack(tflite)
    (graph,) = model.subgraphs
    depthwise = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    for op in graph.operators:
        if model.operatorCodes[op.opcodeIndex].builtinCode != depthwise:
            continue
        filters = graph.tensors[op.inputs[1]]
        if filters.type == schema.TensorType.INT8:
            stored = model.buffers[filters.buffer].data.view(np.int8).reshape(filters.shape)
            values = stored * np.asarray(filters.quantization.scale, np.float32)
            buffer = schema.BufferT()
            buffer.data = values.astype(np.float32).ravel().view(np.uint8)
            model.buffers.append(buffer)
            filters.buffer = len(model.buffers) - 1
            filters.type, filters.quantization = schema.TensorType.FLOAT32, None
    return contract.pack(model, len(tflite))


@contextlib.contextmanager
def saved_model(model: keras.Model, form: Form) -> Iterator[str]:
    """Yields a temporary folder with the model as a SavedModel of that Form.

    Converting a Keras 3 model directly would leave its variables unfrozen.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs the TensorFlow backend, got {keras.backend.backend()}; unset "
            "KERAS_BACKEND (weights trained under JAX load under TensorFlow too)"
        )
    height, width = model.input_shape[1:3]

    guarded = form.output == "class-map" and form.guard_classes
    if guarded:
        model = add_guard_classes(model)

    def serve(image: Any) -> dict[str, Any]:
        logits = model(tf.cast(image, tf.float32), training=False)
        if form.output == "logits":
            return {"logits": logits}
        # Not keras.ops.argmax: it handles -0.0 with operators that TFLite does not have.
        class_map = tf.argmax(logits, axis=-1, output_type=tf.int32)
        if guarded:
            class_map = logits.shape[-1] - 1 - class_map
        return {"class_map": tf.cast(class_map, tf.uint8)}

    with files.temporary_folder() as path:
        folder = str(path)
        archive = keras.export.ExportArchive()
        archive.track(model)
        image = keras.InputSpec(shape=(1, height, width, 3), dtype=form.image_dtype, name="image")
        archive.add_endpoint("serve", serve, input_signature=[image])
        archive.write_out(folder, verbose=False)
        yield folder


def from_saved_model(folder: str) -> Any:
    """Returns a tf.lite.TFLiteConverter that writes builtin operators only."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    # Keras' own model.export allows SELECT_TF_OPS, which no phone has.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter
