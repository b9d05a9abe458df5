"""Child process that tries whether a batch fits into the device's memory.

python -m kseg.training.batch_trial DEVICES < config.json

Prints one JSON object: {"limit": bytes that the backend may use, "peak": bytes that training and
validation used at most, null if they did not fit}.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from kseg import config as configs
from kseg import errors
from kseg.config import Config
from kseg.manifest import Manifest, read_manifest
from kseg.runtime import backend_devices
from kseg.training import build_training, distributed, out_of_memory

_STEPS = 3  # The second and third allocate with the results of the one before.


def main() -> None:
    config = configs.merge(Config(), json.load(sys.stdin))
    print(json.dumps(measure(config, read_manifest(config.data), int(sys.argv[1]))))


def measure(config: Config, manifest: Manifest, devices: int) -> dict[str, int | None]:
    """Trains and validates a few batches of black frames. Returns what this module prints."""
    limit = backend_devices.memory_limit()
    if limit is None:
        title = backend_devices.describe(backend_devices.find())
        raise errors.InputError(f"{title} does not report its memory; give a number instead")
    try:
        with distributed.scope(devices, config):
            model = build_training.build_compiled_model(config, manifest, _STEPS)
            _run(model, config)
    except Exception as error:
        if not out_of_memory.find(error):
            raise
        return {"limit": limit, "peak": None}
    return {"limit": limit, "peak": backend_devices.peak_memory()}


def _run(model: keras.Model, config: Config) -> None:
    images = np.zeros((config.batch_size, *config.size, 3), np.uint8)
    masks = np.zeros(images.shape[:3], np.uint8)
    batches = tf.data.Dataset.from_tensors((images, masks)).repeat()
    model.fit(batches, steps_per_epoch=_STEPS, shuffle=False, verbose=0)
    model.evaluate(batches, steps=1, verbose=0)


if __name__ == "__main__":
    sys.exit(errors.run(main))
