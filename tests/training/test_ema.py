import keras
import numpy as np
import pytest

from kseg.training.ema import averaged


def trained(**options):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, **options), loss="mse")
    model.layers[0].kernel.assign([[1 / 3]])
    weights = []
    for target in (1.0, 7.0):
        model.train_on_batch(np.ones((1, 1)), np.full((1, 1), target))
        weights.append(model.get_weights()[0].item())
    return model, weights


def test_averages_by_hand_and_back_bit_exactly():
    model, (first, second) = trained(use_ema=True, ema_momentum=0.9)
    before = model.get_weights()[0]
    with averaged(model):
        # The average begins as the weights after the first step.
        assert model.get_weights()[0].item() == pytest.approx(0.9 * first + 0.1 * second)
    assert np.array_equal(model.get_weights()[0], before)
    with averaged(model):
        assert model.get_weights()[0].item() == pytest.approx(0.9 * first + 0.1 * second)


def test_without_averages_nothing_changes():
    model, (_, second) = trained()
    with averaged(model):
        assert model.get_weights()[0].item() == second


def test_under_loss_scaling_too():
    model, _ = trained()
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), loss="mse")
    before = model.get_weights()[0].item()
    for _ in range(2):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    now = model.get_weights()[0].item()
    with averaged(model):
        assert now < model.get_weights()[0].item() < before
