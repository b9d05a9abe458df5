"""Several devices, of one machine or of several: each gets its share of every batch.

All hold the same weights.

TensorFlow trains under tf.distribute.MirroredStrategy, JAX under keras.distribution.DataParallel
(which on TensorFlow does nothing, without a word: one device does the work). Under JAX the
computation is that of one device. Under TensorFlow too, with batch norm and clipping over all
devices, but for the loss, which each device takes of its share of the batch: the mean of these is
not the whole's for Dice and its kin, nor where shares have unequally many ignored pixels. And each
device draws a dropout of its own.
"""

import contextlib

import keras
import numpy as np

from kseg.errors import InputError
from kseg.training import coordinator

WAIT_S = 120  # For the other hosts, at the start.


def join(hosts, host, *, wait_s=WAIT_S):
    """Makes this process number `host` of those at `hosts`, a list of "NAME:PORT"; JAX only.

    The first listens at its port, the others need none. Returns (host, their number). Raises
    InputError when the flags make no sense and when not all come within wait_s seconds. A host
    that ends after all have met is JAX's to report.
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            f"--hosts: KERAS_BACKEND is {keras.backend.backend()}; several hosts need jax"
        )
    if not 0 <= host < len(hosts):
        raise InputError(f"--host {host}: expected 0 to {len(hosts) - 1}, a place in --hosts")
    name, _, port = hosts[0].rpartition(":")
    if not name or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"--hosts {hosts[0]}: expected NAME:PORT")
    coordinator.wait_for_all(name.strip("[]"), int(port), host, len(hosts), wait_s=wait_s)
    import jax

    try:
        # Not keras.distribution.initialize, which does the same without a time-out.
        jax.distributed.initialize(hosts[0], len(hosts), host, initialization_timeout=wait_s)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"--hosts: not all of {len(hosts)} hosts came within {wait_s} s "
            f"({str(error).splitlines()[0]}); start the same command on each"
        ) from error
    return host, len(hosts)


def check_same_start(state, run):
    """Raises InputError when the hosts do not find the run equally far."""
    from jax.experimental import multihost_utils

    mine = np.array([state["epochs_done"], state["step"]])
    starts = multihost_utils.process_allgather(mine)
    if (starts != mine).any():
        raise InputError(
            f"{run}: the hosts have done {starts[:, 0].tolist()} epochs of it; it must lie on "
            "storage that all of them share"
        )


def scope(count, config, hosts=1):
    """Returns the context in which a model is built, compiled and restored for `count` devices.

    Of several hosts, all devices take part. Raises InputError when there are fewer devices, when
    they cannot share a batch evenly, or for what one device alone can do.
    """
    if hosts > 1:
        return _over_hosts(count, config, hosts)
    if count == 1:
        return contextlib.nullcontext()
    if count < 1 or config.batch_size % count:
        raise InputError(f"--devices {count}: batch_size {config.batch_size} is no multiple of it")
    backend = keras.backend.backend()
    makers = {"tensorflow": _mirrored, "jax": _data_parallel}
    if backend not in makers:
        raise InputError(f"--devices {count}: KERAS_BACKEND is {backend}; use tensorflow or jax")
    return makers[backend](count, config)


def synchronize(model):
    """Lets a compiled model's batch norm and clipping see all devices, as they do under JAX."""
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # Of float16.
    optimizer.sum_over_devices = _sum_over_devices


def _sum_over_devices(gradients):
    """Returns each device's sum over all, and how many there are: TensorFlow adds them up again."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce("SUM", gradients), context.num_replicas_in_sync


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


def _over_hosts(count, config, hosts):
    if count > 1:
        raise InputError("--devices: with --hosts every device of each host takes part")
    total = len(keras.distribution.list_devices())
    if config.batch_size % total:
        raise InputError(
            f"--hosts: batch_size {config.batch_size} is no multiple of the {total} devices of "
            f"{hosts} hosts"
        )
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope()


def _first(count, names):
    if len(names) < count:
        raise InputError(f"--devices {count}: there are {len(names)}: {', '.join(names)}")
    return names[:count]
