"""Validation on the moving average of the weights (Polyak and Juditsky, 1992).

The optimizer keeps the average (ema_momentum). keras.callbacks.SwapEMAWeights does the same by
adding and subtracting, which on TensorFlow loses the last bits of both sides; here they change
places exactly, so that validation leaves the training as it was.
"""

import contextlib

import keras


class ValidateAverages(keras.callbacks.Callback):
    """Puts the averages into the model while it is evaluated."""

    def on_test_begin(self, logs=None):
        swap(self.model)

    def on_test_end(self, logs=None):
        swap(self.model)


@contextlib.contextmanager
def averaged(model):
    """The averages are the model's weights inside; without a moving average nothing changes."""
    swap(model)
    try:
        yield
    finally:
        swap(model)


def swap(model):
    """Exchanges trainable weights and their averages. Batch norm's statistics have none.

    They are running averages of their own, of the activations under the training weights.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # Of loss scaling.
    if not optimizer.use_ema:
        return
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
        value = keras.ops.convert_to_numpy(variable).copy()
        variable.assign(average)
        average.assign(value)
