"""Callbacks after each step, without reading the step's values from the device each time."""

import time
from collections.abc import Sequence
from typing import Any

import keras

INTERVAL_S = 1.0


class StepCallbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks, which reads losses and metrics about once per second.

    To read a value is to wait until the device has computed it; then it idles until Python has
    started the next step. Keras reads all values after every step. Here, callbacks get an empty
    `logs` after a step whose values are not read. They are read when interval_s seconds have passed
    since the last time, and after each step for which a callback's `needs_logs(batch)` is true. The
    values of an epoch are complete in any case: the device adds them up.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        interval_s: float | None = None,
        **params: Any,
    ):
        """interval_s: INTERVAL_S by default.

        params: of keras.callbacks.CallbackList: model, epochs, steps and verbose.
        """
        super().__init__(callbacks, add_history=True, **params)
        self.interval_s = INTERVAL_S if interval_s is None else interval_s
        self.last_read = 0.0  # Long ago: the first step is read.
        self.askers = [c.needs_logs for c in self.callbacks if hasattr(c, "needs_logs")]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        is_late = time.monotonic() - self.last_read >= self.interval_s
        values = {}
        if is_late or any(needs_logs(batch) for needs_logs in self.askers):
            values = _read(logs)
            self.last_read = time.monotonic()
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, values)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, {})


def _read(logs):
    """The values as Python numbers; metrics that are dicts are laid flat, as Keras does it."""
    values = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            values |= _read(value)
        else:
            values[name] = float(keras.ops.convert_to_numpy(value))
    return values
