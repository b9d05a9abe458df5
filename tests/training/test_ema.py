import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kseg.training import ema
from kseg.training.resume import random_state


def trained(**options):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, **options), loss="mse")
    model.layers[0].kernel.assign([[1 / 3]])
    weights = []
    for target in (1.0, 7.0):
        model.train_on_batch(np.ones((1, 1)), np.full((1, 1), target))
        weights.append(model.get_weights()[0].item())
    return model, weights


@contextlib.contextmanager
def validating(model, training=None, steps=1):
    """Inside, the model is as in validation. Yields the callback."""
    callback = ema.ValidateAverages(lambda: training, steps)
    callback.set_model(model)
    callback.on_test_begin()
    yield callback
    callback.on_test_end()


def test_averages_by_hand_and_back_bit_exactly():
    model, (first, second) = trained(use_ema=True, ema_momentum=0.9)
    before = model.get_weights()[0]
    with validating(model) as callback:
        # The average begins as the weights after the first step.
        assert model.get_weights()[0].item() == pytest.approx(0.9 * first + 0.1 * second)
    assert np.array_equal(model.get_weights()[0], before)
    with callback.averaged():
        assert model.get_weights()[0].item() == pytest.approx(0.9 * first + 0.1 * second)
    assert np.array_equal(model.get_weights()[0], before)


def test_without_averages_nothing_changes():
    model, (_, second) = trained()
    with validating(model) as callback:
        assert model.get_weights()[0].item() == second
    with callback.averaged():
        assert model.get_weights()[0].item() == second


def test_under_loss_scaling_too():
    model, _ = trained()
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), loss="mse")
    before = model.get_weights()[0].item()
    for _ in range(2):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    now = model.get_weights()[0].item()
    with validating(model):
        assert now < model.get_weights()[0].item() < before


def with_batch_norm():
    """A model of one convolution w, dropout and batch norm, and batches of constant images."""
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones"),
            layers.Dropout(1e-6),
            layers.BatchNormalization(momentum=0.5),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), loss="mse")
    images = np.array([1, 3, 5, 7, 90, 90], np.float32)[:, None, None, None] * np.ones((2, 2, 1))
    frames = tf.data.Dataset.from_tensor_slices((images, np.zeros((6, 2, 2))))
    return model, frames.batch(2).repeat()


def test_statistics_are_those_of_training_batches_under_the_averages():
    model, training = with_batch_norm()
    norm, kernel = model.layers[-1], model.layers[0].kernel
    model.optimizer.build(model.trainable_variables)
    model.optimizer._model_variables_moving_average[0].assign([[[[3.0]]]])
    norm.moving_mean.assign([0.25])
    before, drawn = model.get_weights(), [v.numpy() for v in random_state(model)]
    with validating(model, training, steps=2) as callback:
        assert kernel.numpy().item() == 3
        # Batches (1, 3) and (5, 7): means 2 and 6 and variances of 1, times 3 and 9.
        assert norm.moving_mean.numpy().item() == pytest.approx(12, rel=1e-4)
        assert norm.moving_variance.numpy().item() == pytest.approx(9, rel=1e-4)
        validated = model.get_weights()
    for again in (callback.averaged(), validating(model, training, steps=2)):
        assert all(map(np.array_equal, before, model.get_weights()))
        with again:
            assert all(map(np.array_equal, validated, model.get_weights()))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert all(map(np.array_equal, drawn, [v.numpy() for v in random_state(model)]))
    assert norm.momentum == 0.5


def test_frozen_statistics_stay():
    model, training = with_batch_norm()
    model.layers[-1].trainable = False
    model.optimizer.build(model.trainable_variables)
    model.layers[-1].moving_mean.assign([0.1])
    with validating(model, training):
        assert model.layers[-1].moving_mean.numpy() == np.float32(0.1)
