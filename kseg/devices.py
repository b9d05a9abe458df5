"""Several devices of one machine: each gets its share of every batch, all hold the same weights.

TensorFlow trains under tf.distribute.MirroredStrategy, JAX under keras.distribution.DataParallel
(which on TensorFlow does nothing, without a word: one device does the work). Under JAX the
computation is that of one device. Under TensorFlow two things are of each device's share alone:
batch norm's statistics, and losses that are not means over pixels (Dice and its kin).
"""

import contextlib

import keras

from kseg.errors import InputError


def scope(count, config):
    """Returns the context in which a model is built, compiled and restored for `count` devices.

    Raises InputError when there are fewer devices, when they cannot share a batch evenly, or for
    what one device alone can do.
    """
    if count == 1:
        return contextlib.nullcontext()
    if count < 1 or config.batch_size % count:
        raise InputError(f"--devices {count}: batch_size {config.batch_size} is no multiple of it")
    backend = keras.backend.backend()
    makers = {"tensorflow": _mirrored, "jax": _data_parallel}
    if backend not in makers:
        raise InputError(f"--devices {count}: KERAS_BACKEND is {backend}; use tensorflow or jax")
    return makers[backend](count, config)


def _mirrored(count, config):
    import tensorflow as tf

    if config.gradient_accumulation_steps > 1:
        raise InputError(
            f"--devices {count}: TensorFlow cannot accumulate gradients over several devices; use "
            "--gradient-accumulation-steps 1, or KERAS_BACKEND=jax"
        )
    gpus = tf.config.list_logical_devices("GPU")
    names = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(_first(count, names)).scope()


def _data_parallel(count, _config):
    names = _first(count, keras.distribution.list_devices())
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope()


def _first(count, names):
    if len(names) < count:
        raise InputError(f"--devices {count}: there are {len(names)}: {', '.join(names)}")
    return names[:count]
