"""Validation with the exponential moving average of the weights (Polyak and Juditsky, 1992).

The optimizer keeps the average (ema_momentum). keras.callbacks.SwapEMAWeights swaps by adding and
subtracting, which on TensorFlow loses the last bits of both sides. Here weights and averages are
exchanged exactly, so that validation does not change the training.
"""

import contextlib
from collections.abc import Iterator

import keras


class ValidateAverages(keras.callbacks.Callback):
    """Puts the averages into the model while it is evaluated."""

    def on_test_begin(self, logs=None):
        swap(self.model)

    def on_test_end(self, logs=None):
        swap(self.model)


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Inside, the averages are the model's weights; without a moving average nothing changes."""
    swap(model)
    try:
        yield
    finally:
        swap(model)


def swap(model: keras.Model) -> None:
    """Exchanges the trainable weights with their averages.

    The statistics of batch norm stay: they have no such averages, being running averages
    themselves, of activations under the training weights.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # Of loss scaling.
    if not optimizer.use_ema:
        return
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
        value = keras.ops.convert_to_numpy(variable).copy()
        variable.assign(average)
        average.assign(value)
