"""Out of memory on the device: one line that says what did not fit, and what would."""

import contextlib
import math
import re
from collections.abc import Iterator

import keras

from kseg.config import Config
from kseg.errors import InputError
from kseg.runtime import backend_devices

# Messages of TensorFlow, JAX, XLA, CUDA and cuDNN. Not RESOURCE_EXHAUSTED: full disks have it too.
_MESSAGES = re.compile(
    r"out of memory|OOM when allocating|failed to allocate|Dst tensor is not initialized"
    r"|CUDA_ERROR_OUT_OF_MEMORY|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_SHAPE = re.compile(r"OOM when allocating tensor with shape\[([\d,]*)\] and type (\w+)")
_BYTES = re.compile(r"allocat\w+ ([\d.]+) ?(bytes|[KMGT]iB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class OutOfMemory(InputError):
    """A model or a batch that does not fit into the device's memory."""


@contextlib.contextmanager
def reported(config: Config, model: keras.Model | None = None, *, devices: int = 1) -> Iterator:
    """Turns the errors of TensorFlow and JAX for a lack of device memory into an OutOfMemory.

    model: the compiled model, if it could be built. devices: how many share a batch.
    """
    try:
        yield
    except Exception as error:
        cause = find(error)
        if cause is None:
            raise
        raise OutOfMemory(describe(config, model, devices, requested_bytes(cause))) from error


def find(error: BaseException | None) -> BaseException | None:
    """Returns the error by which TensorFlow or JAX reported a lack of device memory, or None.

    It may be one during whose handling `error` was raised: Keras then reads JAX arrays that the
    step has deleted.
    """
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & {"OpError", "JaxRuntimeError"} and _MESSAGES.search(str(error)):
            return error
        error = error.__context__
    return None


def requested_bytes(error: BaseException) -> int | None:
    """Returns the size of the allocation that failed; None if the message does not say it."""
    text = str(error)
    if shape := _SHAPE.search(text):
        sides = [int(side) for side in shape[1].split(",") if side]
        return math.prod(sides) * _item_bytes(shape[2])
    if size := _BYTES.search(text):
        return int(float(size[1]) * _UNITS[size[2]])
    return None


def estimate(model: keras.Model, batch_size: int) -> tuple[int, int]:
    """Estimates the bytes of (state, activations) of a compiled model in training.

    State: weights, a gradient for each trainable weight, and the optimizer's variables, as far as
    they exist, each in its own dtype. Activations: the output of each layer for each frame of a
    batch, in the dtype in which the layer computes. Convolutions need buffers in addition.
    """
    variables = [*model.weights, *model.trainable_weights, *model.optimizer.variables]
    state = sum(math.prod(v.shape) * _item_bytes(v.dtype) for v in variables)
    per_frame = sum(
        math.prod(layer.output.shape[1:]) * _item_bytes(layer.compute_dtype)
        for layer in model.layers
    )
    return state, per_frame * batch_size


def largest_batch(
    batch_size: int, state: int, activations: int, *, limit: int | None, requested: int | None
) -> int:
    """Estimates how many of batch_size frames, which do not fit, would fit on one device.

    state, activations: bytes for batch_size frames. limit: the device's bytes. requested: those of
    the allocation that failed, which are of batch_size frames too. 0: not even one frame.
    """
    half = batch_size // 2
    if not limit:
        return half
    per_frame = max(activations, requested or 0) / batch_size
    fitting = max(0, int((limit - state) / per_frame))
    # The estimate leaves out the buffers of convolutions, so it may exceed what has failed.
    return fitting if fitting < batch_size else half


def describe(config: Config, model: keras.Model | None, devices: int, requested: int | None) -> str:
    """Returns the line: what did not fit, the largest batch that by estimate would, what helps."""
    limit = backend_devices.memory_limit()
    frames = config.batch_size // devices
    size = f"{config.size[0]}x{config.size[1]}"
    what = f"{frames} frame{'s' * (frames > 1)} of {size}" if model else "the weights"
    precision = "float32" if config.mixed_precision == "off" else config.mixed_precision
    line = (
        f"out of memory on {backend_devices.describe(backend_devices.find())}"
        + (f", {_gigabytes(limit)} per device" if limit else "")
        + f": a training step with {what} of {config.model} in {precision} does not fit"
        + (f" (it asked for {_gigabytes(requested)} at once)" if requested else "")
    )
    fitting = 0
    if model:
        state, activations = estimate(model, frames)
        fitting = largest_batch(frames, state, activations, limit=limit, requested=requested)
    return f"{line}; {_advice(config, fitting * devices)}"


def _advice(config, fitting):
    smaller = "a smaller --size or --model"
    if config.mixed_precision == "off":
        smaller = f"--mixed-precision bfloat16 (where the device computes it), or {smaller}"
    if not fitting:
        return f"use {smaller}"
    steps = math.ceil(config.batch_size / fitting) * config.gradient_accumulation_steps
    return (
        f"by estimate --batch-size {fitting} fits, and --gradient-accumulation-steps {steps} with "
        f"it keeps the frames of an update; or use {smaller}"
    )


def _gigabytes(count):
    return f"{count / 1e9:,.0f} GB" if count >= 1e11 else f"{count / 1e9:.3g} GB"


def _item_bytes(dtype):
    sizes = {"bfloat16": 2, "float16": 2, "half": 2, "int64": 8, "double": 8, "float64": 8}
    return sizes.get(str(dtype), 1 if str(dtype) in ("bool", "uint8", "int8") else 4)
