"""The progress bar of training: loss and IoU about once per second, and the time left."""

import sys

import keras

from kseg.labels import LabelSet

_MAX_CLASSES = 4  # The IoUs of more classes do not fit into a line.


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras' bar with loss, mean IoU and, with few classes, the IoU of each class.

    history.csv has all metrics. Where the output is not a terminal, it prints one line per epoch: a
    bar in a log file would be one line per step.
    """

    def __init__(self, labels: LabelSet):
        super().__init__()
        names = labels.names if len(labels.names) <= _MAX_CLASSES else []
        shown = ["loss", "mean_iou", *(f"iou/{name}" for name in names)]
        self.shown = [*shown, *(f"val_{name}" for name in shown)]

    def set_params(self, params):
        super().set_params(params)
        if self.verbose == 1 and not sys.stdout.isatty():
            self.verbose = 2

    def on_train_batch_end(self, batch, logs=None):
        if logs:  # Of this step they were read.
            super().on_train_batch_end(batch, self._select(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, self._select(logs))

    def _select(self, logs):
        return {name: logs[name] for name in self.shown if name in (logs or {})}
