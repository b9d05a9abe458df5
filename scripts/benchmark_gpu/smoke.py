"""Stage "smoke": versions, the device, one training step, and the rate of a matrix product.

python -m benchmark_gpu.smoke
"""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time

from benchmark_gpu import children, steps
from benchmark_gpu.run import Run

PACKAGES = (
    *("jax", "jaxlib", "tensorflow", "tensorflow-cpu", "keras", "numpy", "torch"),
    *("torchvision", "transformers", "ai-edge-litert"),
)


def stage(run: Run) -> None:
    for result in children.stream(run.start("smoke", "benchmark_gpu.smoke"), run.deadline):
        if "precision" in result:
            run.results.row(**result)
        else:
            run.results.machine(**result)
    if run.results.values["machine"]["platform"] != "gpu":
        run.results.note("no GPU found: all measurements below are of a CPU")


def main() -> None:
    children.emit(
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        nvidia_smi=nvidia_smi(),
        versions=versions(),
    )
    children.emit(**steps.device())
    on_gpu = steps.device()["platform"] == "gpu"
    children.emit(product_tflops=product_tflops(8192 if on_gpu else 512))
    images, masks = steps.batch((64, 96), 2)
    for precision in ("float32", "bfloat16"):
        model = steps.compiled_model(
            model="unet",
            size=(64, 96),
            decoder_channels=8,
            batch_size=2,
            **steps.precision_settings(precision),
        )
        start = time.perf_counter()
        loss = model.train_on_batch(images, masks, return_dict=True)["loss"]
        seconds = time.perf_counter() - start
        children.emit(precision=precision, loss=float(loss), first_step_s=seconds)


def versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def nvidia_smi() -> str | None:
    """Returns name, driver version and memory of the GPUs, or None without nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def product_tflops(size: int) -> dict[str, float]:
    """Returns the TFLOP/s of a product of random (size, size) matrices by precision."""
    from keras import ops, random

    rates = {}
    for precision, dtype in (("tf32", "float32"), ("bfloat16", "bfloat16")):
        steps.set_float32_precision("tf32")
        a, b = (ops.cast(random.normal((size, size), seed=seed), dtype) for seed in (1, 2))
        product = _compile(lambda a, b: ops.matmul(a, b))
        seconds = []
        for _ in range(12):
            start = time.perf_counter()
            for _ in range(4):
                result = product(a, b)
            float(ops.cast(result[0, 0], "float32"))  # Waits for the device.
            seconds.append((time.perf_counter() - start) / 4)
        rates[precision] = 2 * size**3 / statistics.median(seconds) / 1e12
    return rates


def _compile(function):
    if steps.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


if __name__ == "__main__":
    main()
