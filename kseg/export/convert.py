"""Keras model -> .tflite bytes: batch 1, static, builtins only, in the form its profile wants."""

import contextlib
import tempfile
import typing

import keras
import tensorflow as tf

from kseg.errors import InputError
from kseg.export.profiles import PROFILES

# ARG_MAX on LiteRT's GPU accelerator lets the zero padding of its 4-channel slices win, silently.
# Channels filled up to a multiple of 4 with this value never do; it is finite in float16 too.
_NEVER = -6e4
_SLICE = 4


class Form(typing.NamedTuple):
    """What a file takes and answers: "image" (1, H, W, 3) raw RGB -> its output's name."""

    image_dtype: str  # uint8 or float32, 0..255 either way
    output: str  # class-map (1, H, W) uint8 ids, or logits (1, H, W, C) float32
    pad_classes: bool = True  # fill the class channels up before ARG_MAX


def form(profile, output=None):
    """Returns the Form of a profile's files; output None is the profile's own.

    Raises InputError when the profile cannot answer so.
    """
    output = output or profile.outputs[0]
    if output not in profile.outputs:
        raise InputError(
            f"--output {output}: {profile.runtime} has no ARG_MAX; with --profile {profile.name} "
            f"take {' or '.join(profile.outputs)}"
        )
    return Form(profile.image_dtype, output)


def to_tflite(model, precision, profile=PROFILES["cpu"], output=None):
    """Converts a model (B, H, W, 3) float32 -> (B, H, W, C) logits. Returns the file's bytes.

    Normalisation and resizing lie inside, the argmax too unless the output is logits. precision is
    that of the weights: "fp32", "fp16", or "int8-dynamic" (activations are quantised while it
    runs); "int8" and "int16x8" need frames to calibrate on and are made by kseg.export.quantize and
    kseg.export.quantize_int16x8. Raises InputError under JAX.
    """
    with saved_model(model, form(profile, output)) as folder:
        converter = from_saved_model(folder)
        if precision in ("fp16", "int8-dynamic"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


@contextlib.contextmanager
def saved_model(model, form):
    """A folder with the model as a SavedModel of that Form, while the context lasts.

    Converting a Keras 3 model directly would leave its variables unfrozen.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs the TensorFlow backend, got {keras.backend.backend()}; unset "
            "KERAS_BACKEND (weights trained under JAX load all the same)"
        )
    height, width = model.input_shape[1:3]

    def serve(image):
        logits = model(tf.cast(image, tf.float32), training=False)
        if form.output == "logits":
            return {"logits": logits}
        if form.pad_classes:
            logits = pad_to_slices(logits)
        # tf.argmax: keras.ops.argmax guards against -0.0 with operators TFLite has not.
        return {"class_map": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)}

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        image = keras.InputSpec(shape=(1, height, width, 3), dtype=form.image_dtype, name="image")
        archive.add_endpoint("serve", serve, input_signature=[image])
        archive.write_out(folder, verbose=False)
        yield folder


def pad_to_slices(logits):
    """(1, H, W, C) -> (1, H, W, C rounded up to a multiple of 4), with classes that never win."""
    missing = -logits.shape[-1] % _SLICE
    if not missing:
        return logits
    padding = [[0, 0], [0, 0], [0, 0], [0, missing]]
    return tf.pad(logits, padding, constant_values=_NEVER)


def from_saved_model(folder):
    """Returns a converter that keeps to what phones have."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    # Not SELECT_TF_OPS, as Keras' own model.export: no phone has those.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter
