"""Training on several devices, of one machine or of several hosts: each takes part of every batch.

All devices hold the same weights. TensorFlow trains under tf.distribute.MirroredStrategy, JAX under
keras.distribution.DataParallel (which on TensorFlow silently does nothing: one device does all the
work).

Under JAX the computation is the same as on one device. Under TensorFlow it is the same too, with
batch norm and gradient clipping over all devices, except for two things. The loss: each device
computes it on its part of the batch. For Dice, Tversky and Lovasz, or where the parts have
different numbers of ignored pixels, the mean of these is not the loss of the batch. And dropout:
each device draws its own.
"""

import contextlib
from typing import Any

import keras
import numpy as np

from kseg.config import Config
from kseg.errors import InputError
from kseg.training import coordinator

WAIT_S = 120  # How long hosts wait for each other at the start.


def join(hosts: list[str], host: int, *, wait_s: int = WAIT_S) -> tuple[int, int]:
    """Connects this process, number `host`, with those at `hosts`, a list of "NAME:PORT"; JAX only.

    The first host listens at its port; the others need none. Returns (rank, world size). Raises
    InputError for invalid flags, and when hosts are missing after wait_s seconds. JAX itself
    reports a host that ends later.
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            f"--hosts: KERAS_BACKEND is {keras.backend.backend()}, but several hosts need jax; set "
            "KERAS_BACKEND=jax"
        )
    if not 0 <= host < len(hosts):
        raise InputError(f"--host {host}: expected 0 to {len(hosts) - 1}, an index into --hosts")
    name, _, port = hosts[0].rpartition(":")
    if not name or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"--hosts {hosts[0]}: expected NAME:PORT")
    coordinator.wait_for_all(name.strip("[]"), int(port), host, len(hosts), wait_s=wait_s)
    import jax

    try:
        # Not keras.distribution.initialize, which does the same without a timeout.
        jax.distributed.initialize(hosts[0], len(hosts), host, initialization_timeout=wait_s)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"--hosts: not all {len(hosts)} hosts connected within {wait_s} s "
            f"({str(error).splitlines()[0]}); start the same command on each"
        ) from error
    return host, len(hosts)


def check_same_start(state: dict[str, Any], run: Any) -> None:
    """Raises InputError when the hosts' copies of the run are at different steps."""
    from jax.experimental import multihost_utils

    ours = np.array([state["epochs_done"], state["step"]])
    starts = multihost_utils.process_allgather(ours)
    if (starts != ours).any():
        raise InputError(
            f"{run}: the hosts have done {starts[:, 0].tolist()} epochs of it; put it on storage "
            "that all of them share"
        )


def scope(
    devices: int, config: Config, hosts: int = 1
) -> contextlib.AbstractContextManager[Any, Any]:
    """Returns the context in which a model is built, compiled and restored for `devices` devices.

    With several hosts, all their devices take part. Raises InputError when there are fewer devices,
    when the batch cannot be split evenly, and for settings that need a single device.
    """
    if hosts > 1:
        return _over_hosts(devices, config, hosts)
    if devices == 1:
        return contextlib.nullcontext()
    if devices < 1 or config.batch_size % devices:
        raise InputError(
            f"--devices {devices}: batch_size {config.batch_size} is not a multiple of it; choose "
            "another --batch-size"
        )
    backend = keras.backend.backend()
    scopes = {"tensorflow": _mirrored, "jax": _data_parallel}
    if backend not in scopes:
        raise InputError(f"--devices {devices}: KERAS_BACKEND is {backend}; use tensorflow or jax")
    return scopes[backend](devices, config)


def replicas() -> int:
    """Number of devices among which TensorFlow splits batches in the current scope; JAX: 1."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(gradients: list[Any]) -> list[Any]:
    """Returns the mean of each gradient over all TensorFlow replicas; call it within a replica."""
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("MEAN", gradients)


def synchronize_batch_norm(model: keras.Model) -> None:
    """Makes the batch norms of a model use the statistics of all TensorFlow replicas."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


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


def _over_hosts(devices, config, hosts):
    if devices > 1:
        raise InputError("--devices: with --hosts, every device of each host takes part; remove it")
    total = len(keras.distribution.list_devices())
    if config.batch_size % total:
        raise InputError(
            f"--hosts: batch_size {config.batch_size} is not a multiple of the {total} devices of "
            f"{hosts} hosts; choose another --batch-size"
        )
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope()


def _first(count, names):
    if len(names) < count:
        raise InputError(f"--devices {count}: there are {len(names)}: {', '.join(names)}")
    return names[:count]
