"""python -m tests.training.losses_on_devices N: compares N devices with one, for every loss.

Prints {loss expression: [error, error without sums]} as JSON, where an error is the largest
difference of losses and updated weights from those of one device. A process of its own: TensorFlow
splits a CPU into logical devices only before it is first used, and gives a process one group of
devices only.
"""

import json
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from kseg.config import Config
from kseg.labels import IGNORE_ID
from kseg.model_names import LOSSES
from kseg.training import distributed, losses, optimizers

CLASS_WEIGHTS = [1, 0.5, 3, 2]
# It clips about half of the losses' gradients.
CONFIG = Config(optimizer="sgd", momentum=0.9, clip_norm=0.1, weight_decay=0.01, batch_size=6)


def batch():
    """Six frames; a third has no label, one less than the others, and a class is in one only."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 9, 14, 3)).astype(np.float32)
    masks = rng.integers(0, 2, images.shape[:3])
    masks[:2], masks[2, :3], masks[5, 3:5] = IGNORE_ID, IGNORE_ID, 2
    masks[3, 6:] = 4  # Of the union: class 0 or 1.
    return images, masks


def train(expression, devices):
    """Returns the losses of two steps on the same batch, then the weights."""
    keras.utils.set_random_seed(1)
    images, masks = batch()
    with distributed.scope(devices, CONFIG):
        strategy = tf.distribute.get_strategy()
        layers = [keras.layers.Conv2D(4, 3, activation="tanh"), keras.layers.Conv2D(4, 1)]
        model = keras.Sequential([keras.Input(images.shape[1:]), *layers])
        optimizer = optimizers.build(CONFIG, 0.5, replicas=devices)
        loss = losses.build(expression, CLASS_WEIGHTS, unions=((0, 1),))
        optimizer.build(model.trainable_variables)

        def step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            part = np.s_[replica * 6 // devices : (replica + 1) * 6 // devices]
            with tf.GradientTape() as tape:
                value = loss(masks[part, 1:-1, 1:-1], model(images[part]))
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(value, variables), variables)
            return value

        # Keras' losses are divided by the number of devices.
        values = [strategy.reduce("SUM", strategy.run(step), axis=None) for _ in range(2)]
        return np.concatenate([*(np.ravel(w) for w in [values, *model.get_weights()])])


def main():
    devices = int(sys.argv[1])
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, logical)
    errors = {}
    for expression in [*LOSSES, "dice+0.5*focal"]:
        one = train(expression, 1)
        right = train(expression, devices)
        with mock.patch.multiple(
            distributed, sum_over_replicas=lambda x: x, gather_replicas=lambda x, axis: x
        ):
            wrong = train(expression, devices)
        errors[expression] = [float(np.abs(x - one).max()) for x in (right, wrong)]
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
