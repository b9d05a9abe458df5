"""Keras model -> .tflite bytes: batch 1, static, builtins only, uint8 in, class map out."""

import tempfile

import keras
import tensorflow as tf

from kseg.errors import InputError

# ARG_MAX on LiteRT's GPU accelerator lets the zero padding of its 4-channel slices win, silently;
# channels filled up to a multiple of 4 with this value never do.
_NEVER = -1e9
_SLICE = 4


def to_tflite(model, precision):
    """Converts a model (B, H, W, 3) float32 -> (B, H, W, C) logits. Raises InputError under JAX.

    The file takes "image" (1, H, W, 3) uint8 RGB and answers "class_map" (1, H, W) uint8 ids;
    normalisation and argmax lie inside. precision "fp32" or "fp16" is that of the weights.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"export needs the TensorFlow backend, got {keras.backend.backend()}; unset "
            "KERAS_BACKEND (weights trained under JAX load all the same)"
        )
    height, width = model.input_shape[1:3]

    def serve(image):
        logits = model(tf.cast(image, tf.float32), training=False)
        missing = -logits.shape[-1] % _SLICE
        if missing:
            padding = [[0, 0], [0, 0], [0, 0], [0, missing]]
            logits = tf.pad(logits, padding, constant_values=_NEVER)
        # tf.argmax: keras.ops.argmax guards against -0.0 with operators TFLite has not.
        return {"class_map": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)}

    # Through a SavedModel: converting a Keras 3 model directly leaves its variables unfrozen.
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        signature = [keras.InputSpec(shape=(1, height, width, 3), dtype="uint8", name="image")]
        archive.add_endpoint("serve", serve, input_signature=signature)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        # Not SELECT_TF_OPS, as Keras' own model.export: no phone has those.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision == "fp16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
