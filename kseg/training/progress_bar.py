"""What training shows of each step: a bar with loss, IoU and the time left."""

import sys

import keras

_MOST_CLASSES = 4  # Of more, the IoUs do not fit into a line.


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras' bar with loss, mean IoU and the IoU of each of a few classes; history.csv has all.

    Where the output is no terminal, a line an epoch: a bar in a log file is a line for each step.
    """

    def __init__(self, labels):
        super().__init__()
        few = labels.names if len(labels.names) <= _MOST_CLASSES else []
        self.shown = ["loss", "mean_iou", *(f"iou/{name}" for name in few)]

    def set_params(self, params):
        super().set_params(params)
        if self.verbose == 1 and not sys.stdout.isatty():
            self.verbose = 2

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, self._few(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, self._few(logs))

    def _few(self, logs):
        logs = logs or {}
        names = [*self.shown, *(f"val_{name}" for name in self.shown)]
        return {name: logs[name] for name in names if name in logs}
