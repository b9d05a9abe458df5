"""One compiled training step of kseg on the device that Keras uses, to run and to time.

The stages reach kseg's internals through this module only; otherwise they call its commands.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from kseg.preprocess import Size

CLASSES = 3
Step = Callable[[], None]
Wait = Callable[[], Any]


def compiled_model(**settings: Any) -> Any:
    """Returns kseg's compiled model of a Config with these settings, for three classes."""
    from kseg.config import Config
    from kseg.labels import BDD100K_DRIVABLE
    from kseg.training.build_training import build_compiled_model

    manifest: Any = SimpleNamespace(labels=BDD100K_DRIVABLE)
    return build_compiled_model(Config(**settings), manifest, steps_per_epoch=100)


def without_metrics(model: Any) -> Any:
    """Compiles the model again with loss and optimizer only, as on the PyTorch side."""
    model.compile(model.optimizer, model.loss, jit_compile=model.jit_compile)
    return model


def batch(size: Size, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (B, H, W, 3) uint8 and masks (B, H, W) uint8 of synthetic roads.

    A grey trapezium, its left half class 0 and its right half class 1, on class 2, with noise; the
    bottom row is ignored (255). On random pixels the loss would not fall, and would test little.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    depth = np.clip((rows - height // 2) / (height / 2), 0, 1)
    images = np.empty((frames, height, width, 3), np.uint8)
    masks = np.full((frames, height, width), 2, np.uint8)
    for image, mask in zip(images, masks, strict=True):
        apex = rng.uniform(0.3, 0.7) * width
        middle = apex + (width / 2 - apex) * depth
        road = (np.abs(columns - middle) < depth * width / 2) & (depth > 0)
        mask[road & (columns < middle)] = 0
        mask[road & (columns >= middle)] = 1
        colors = np.array([[90, 90, 90], [150, 150, 150], [60, 140, 60]])[mask]
        image[:] = np.clip(colors + rng.normal(0, 20, image.shape), 0, 255)
    masks[:, -1] = 255
    return images, masks


def backend() -> str:
    import keras

    return keras.backend.backend()


def device() -> dict[str, Any]:
    """Returns {"platform": "gpu" or "cpu", "device": name, "memory_bytes": int or None}."""
    if backend() == "jax":
        import jax

        first = jax.devices()[0]
        platform = "cpu" if first.platform == "cpu" else "gpu"
        memory = (first.memory_stats() or {}).get("bytes_limit")
        return {"platform": platform, "device": first.device_kind, "memory_bytes": memory}
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    name = details.get("device_name", "cpu")
    return {"platform": "gpu" if gpus else "cpu", "device": name, "memory_bytes": None}


def set_float32_precision(precision: str) -> None:
    """Lets float32 products be computed in TF32 ("tf32") or not ("float32"), process-wide."""
    if backend() == "jax":
        import jax

        name = "tensorfloat32" if precision == "tf32" else "highest"
        jax.config.update("jax_default_matmul_precision", name)
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")


def precision_settings(precision: str) -> dict[str, str]:
    """Returns the Config fields for float32, tf32 or bfloat16; sets the process-wide option."""
    set_float32_precision("float32" if precision == "float32" else "tf32")
    return {"mixed_precision": "bfloat16" if precision == "bfloat16" else "off"}


def compile_step(model: Any, images: np.ndarray, masks: np.ndarray) -> tuple[Step, Wait, float]:
    """Compiles one training step whose inputs are on the device.

    Returns (step, wait, seconds): step() starts a training step, wait() returns when all started
    steps have ended; seconds: of the compilation.
    """
    start = time.perf_counter()
    make = _jax_step if backend() == "jax" else _tensorflow_step
    step, wait = make(model, images, masks)
    return step, wait, time.perf_counter() - start


def _jax_step(model, images, masks):
    import jax

    data = (jax.device_put(images), jax.device_put(masks))
    model._symbolic_build(data_batch=data)
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
        purge_model_variables=True,
    )
    # Compiled as in Model.fit, so that the compilation cache serves both.
    compiled = jax.jit(model.train_step, donate_argnums=0).lower(state, data).compile()
    latest = [None, state]

    def step():
        latest[0], latest[1] = compiled(latest[1], data)

    return step, lambda: jax.block_until_ready(latest)


def _tensorflow_step(model, images, masks):
    import tensorflow as tf

    data = (tf.constant(images), tf.constant(masks))
    model.optimizer.build(model.trainable_variables)
    compiled = tf.function(model.train_step, jit_compile=False)
    compiled.get_concrete_function(data)
    latest = [None]

    def step():
        latest[0] = compiled(data)

    return step, lambda: float(latest[0]["loss"])


def time_steps(step: Step, wait: Wait, seconds: float) -> list[float]:
    """Returns milliseconds per step of several groups of steps; waits at the end of each group.

    Steps are started without waiting for the one before, as in training. A group takes about a
    tenth of `seconds`, so that the wait at its end adds little.
    """
    step()
    wait()
    start = time.perf_counter()
    step()
    step()
    wait()
    group = max(1, int(seconds / 10 / max((time.perf_counter() - start) / 2, 1e-4)))
    times: list[float] = []
    first = time.perf_counter()
    while not times or time.perf_counter() - first < seconds:
        start = time.perf_counter()
        for _ in range(group):
            step()
        wait()
        times.append(1000 * (time.perf_counter() - start) / group)
    return times


def peak_memory_bytes() -> int | None:
    """Returns the peak device memory of this process; None where the backend does not report it."""
    if backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
