"""Validation with the exponential moving average of the weights (Polyak and Juditsky, 1992).

The optimizer keeps the average (ema_momentum). keras.callbacks.SwapEMAWeights swaps by adding and
subtracting, which on TensorFlow loses the last bits of both sides. Here weights and averages are
exchanged exactly, so that validation does not change the training.

Batch norm's moving statistics are those of the training weights; under the averages, activations
have others. Before each validation they are estimated anew from training batches under the
averages (Izmailov et al., 2018, arXiv:1803.05407, sec. 3.2; torch.optim.swa_utils.update_bn).
Averaging the statistics along with the weights, as timm does, scored no better than keeping them
(scripts/benchmarks/README.md).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from kseg.training.resume import assign_all, random_state

BATCHES = 20  # From which statistics are estimated; always the first of the first epoch.


class ValidateAverages(keras.callbacks.Callback):
    """Puts the averages into the model while it is evaluated, with statistics of their own.

    training: a function that returns a dataset of training batches (image, mask) that always begins
    with the same ones. steps_per_epoch: how many of them exist.
    """

    def __init__(self, training: Callable[[], Any], steps_per_epoch: int):
        super().__init__()
        self.training, self.batches = training, min(BATCHES, steps_per_epoch)
        self.estimator: StatisticsEstimator | None = None  # None without an average.
        self.estimates: list[np.ndarray] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.estimator = StatisticsEstimator(model) if _optimizer(model).use_ema else None

    def on_test_begin(self, logs=None):
        if self.estimator:
            swap(self.model)
            self.current = to_numpy(self.estimator.statistics)
            self.estimator.estimate(self.training(), self.batches)

    def on_test_end(self, logs=None):
        if self.estimator:
            self.estimates = to_numpy(self.estimator.statistics)
            assign_all(self.estimator.statistics, self.current)
            swap(self.model)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model is the one last evaluated; without an average nothing changes."""
        if not self.estimator:
            yield
            return
        current = to_numpy(self.estimator.statistics)
        swap(self.model)
        assign_all(self.estimator.statistics, self.estimates)
        try:
            yield
        finally:
            assign_all(self.estimator.statistics, current)
            swap(self.model)


class StatisticsEstimator(keras.Model):
    """Estimates the statistics of a model's batch norms: their mean over training batches.

    A keras.Model, so that Keras runs it on all devices and hosts, on every backend.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="statistics_estimator")
        self.model = model
        self.norms = [
            layer
            for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self.statistics = [v for x in self.norms for v in (x.moving_mean, x.moving_variance)]
        self.sums = [
            self.add_weight(shape=v.shape, initializer="zeros", trainable=False, aggregation="mean")
            for v in self.statistics
        ]
        self.compile(
            loss=lambda mask, output: keras.ops.mean(output),
            jit_compile="auto" if keras.backend.backend() == "jax" else False,
        )

    def call(self, image: Any) -> Any:
        self.model(image, training=True)
        for total, value in zip(self.sums, self.statistics, strict=True):
            total.assign(total + value)
        return keras.ops.zeros(keras.ops.shape(image)[:1])

    def estimate(self, training: Any, batches: int) -> None:
        """Replaces the moving statistics by their mean over the first `batches` of a dataset."""
        if not self.norms:
            return
        drawn = random_state(self.model)  # Dropout draws, which must not change training.
        before = to_numpy(drawn)
        assign_all(self.sums, [np.zeros(v.shape, v.dtype) for v in self.sums])
        momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0  # The moving statistics become those of the batch.
        self.evaluate(training, steps=batches, verbose=0)
        for norm, momentum in zip(self.norms, momenta, strict=True):
            norm.momentum = momentum
        assign_all(self.statistics, [total / batches for total in to_numpy(self.sums)])
        assign_all(drawn, before)


def swap(model: keras.Model) -> None:
    """Exchanges the trainable weights with their averages."""
    optimizer = _optimizer(model)
    variables, averages = optimizer._trainable_variables, optimizer._model_variables_moving_average
    values = to_numpy(variables)
    assign_all(variables, averages)
    assign_all(averages, values)


def to_numpy(variables: Any) -> list[np.ndarray]:
    """Returns copies of the values of variables."""
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _optimizer(model):
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)  # Of loss scaling.
