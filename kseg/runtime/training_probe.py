"""Child process that tries Keras' backend: its devices, and whether they compute convolutions.

python -m kseg.runtime.training_probe

Prints one JSON object, as kseg.runtime.training_check describes it. GPU libraries may crash.
"""

import json
from typing import Any

PRECISIONS = ("float32", "bfloat16", "float16")


def main() -> None:
    import keras

    from kseg.runtime import backend_devices
    from kseg.training import mixed_precision

    found = backend_devices.find()
    document = {
        "version": _backend_version(),
        "keras": keras.__version__,
        "built_for": _build_info(),
        "devices": [device._asdict() for device in found],
        "computes": {precision: try_convolution(precision) for precision in PRECISIONS},
        "mixed_precision": mixed_precision.choose(found),
    }
    print(json.dumps(document))


def try_convolution(precision: str) -> str | None:
    """Runs a convolution of ones, which on a GPU needs cuDNN. Returns what is wrong, or None."""
    import numpy as np
    from keras import ops

    image, kernel = ops.ones((1, 16, 16, 8), precision), ops.ones((3, 3, 8, 8), precision)
    try:
        result = np.asarray(ops.cast(ops.conv(image, kernel, padding="valid"), "float32"))
    except Exception as error:  # Whatever a backend raises.
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None if (result == 3 * 3 * 8).all() else f"wrong: {result.flat[0]:g} instead of 72"


def _backend_version() -> str:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return str(jax.__version__)
    import tensorflow as tf

    return str(tf.__version__)


def _build_info() -> dict[str, Any]:
    """Returns the versions of CUDA and cuDNN for which TensorFlow was built; JAX: none."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return {}
    import tensorflow as tf

    info = tf.sysconfig.get_build_info()
    return {name: info.get(f"{name}_version") for name in ("cuda", "cudnn")}


if __name__ == "__main__":
    main()
