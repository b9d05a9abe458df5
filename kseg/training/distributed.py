"""Training on several devices, of one machine or of several hosts: each takes part of every batch.

All devices hold the same weights. TensorFlow trains under tf.distribute.MirroredStrategy, JAX under
keras.distribution.DataParallel (which on TensorFlow silently does nothing: one device does all the
work).

The computation is the same as on one device: loss, batch norm and gradient clipping are those of
the complete batch. JAX does this by itself; for TensorFlow, the functions below do. One difference
remains there: each device draws its own dropout.

A run may go on with another number of hosts. Its losses then differ by rounding, which training
amplifies: scripts/three_hosts.py measures by how much.
"""

import atexit
import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kseg.config import Config
from kseg.errors import InputError
from kseg.training import coordinator
from kseg.training.host_watch import HostWatch, end_process

WAIT_S = 120  # How long hosts wait for each other at the start.
_REPORT_S = 60  # Within this time the loss of a host is noticed, with and without its connection.


@contextlib.contextmanager
def join(
    hosts: Sequence[str], host: int, run: str | os.PathLike[str], *, wait_s: int = WAIT_S
) -> Iterator[tuple[int, int]]:
    """Connects this process, number `host`, with those at `hosts`, a list of "NAME:PORT"; JAX only.

    Yields (rank, world size): (0, 1) for less than two hosts. The first host listens at its port;
    the others need none. Raises InputError for invalid flags, and when hosts are missing after
    wait_s seconds. Inside, the loss of a host ends this process (kseg.training.host_watch); run: to
    be named then.
    """
    if len(hosts) < 2:
        yield 0, 1
        return
    connections = _meet(hosts, host, wait_s)
    watch = HostWatch(connections, end_process(list(hosts), run))
    import jax

    try:
        try:
            # Not keras.distribution.initialize, which does the same without a timeout.
            jax.distributed.initialize(hosts[0], len(hosts), host, initialization_timeout=wait_s)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"--hosts: not all {len(hosts)} hosts connected within {wait_s} s "
                f"({str(error).splitlines()[0]}); start the same command on each"
            ) from error
        yield host, len(hosts)
        watch.finish()
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            # JAX raises errors of several types when a host is lost; the watch reports it better.
            watch.wait(_REPORT_S)
        # At exit JAX would wait for the other hosts, and they for this one. Registered last, this
        # comes first.
        atexit.register(_exit_at_once, _exit_code(error))
        raise


def _exit_code(error):
    """The exit code of kseg.errors.run, or of Python for a traceback."""
    return {InputError: 2, KeyboardInterrupt: 130}.get(type(error), 1)


def _exit_at_once(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _meet(hosts, host, wait_s):
    """Waits for all hosts. Returns the connections of this one."""
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
    return coordinator.wait_for_all(name.strip("[]"), int(port), host, len(hosts), wait_s=wait_s)


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


def sum_over_replicas(values: Any) -> Any:
    """Returns the sum of a tensor over all TensorFlow replicas; outside of replicas, the tensor.

    Differentiable: Keras divides the loss of each replica by their number n and adds up their
    gradients. The gradient of the sum is the sum of n such gradients, so the factors cancel out and
    the result is the gradient of one device.
    """
    context = _replica_context()
    return context.all_reduce("SUM", values) if context else values


def gather_replicas(values: Any, axis: int) -> Any:
    """Concatenates a tensor of all TensorFlow replicas; outside of replicas, returns the tensor.

    Differentiable, as sum_over_replicas.
    """
    context = _replica_context()
    return context.all_gather(values, axis % len(values.shape)) if context else values


def _replica_context():
    """The tf.distribute.ReplicaContext of the current TensorFlow replica; None if there is none."""
    if replicas() == 1:
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()  # None while Keras builds a model, for instance.


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
    if config.xla:
        raise InputError(
            f"--devices {count}: on TensorFlow, --xla is for one device; use --no-xla, or "
            "KERAS_BACKEND=jax, which always compiles"
        )
    gpus = tf.config.list_logical_devices("GPU")
    names = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    return _strategy(tuple(_first(count, names))).scope()


@functools.cache  # The sums of a second strategy for the same devices would clash with the first's.
def _strategy(names):
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


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
