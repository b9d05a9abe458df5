import dataclasses

import keras
import numpy as np
import pytest

from kseg.config import Config
from kseg.training import optimizers

RATE = 0.1


def variables():
    """A kernel and a bias: one decays, one does not."""
    return [keras.Variable([[1.0, -2.0]], name="kernel"), keras.Variable([3.0], name="bias")]


def build(encoder=(), **fields):
    config = dataclasses.replace(Config(), **{"clip_norm": 0.0} | fields)
    return optimizers.build(config, RATE, encoder)


def step(optimizer, weights, gradient=0.5):
    optimizer.apply([keras.ops.full(v.shape, gradient) for v in weights], weights)
    return [v.numpy().ravel().tolist() for v in weights]


def test_sgd_by_hand_has_l2_decay_for_kernels_only():
    weights = variables()
    optimizer = build(optimizer="sgd", momentum=0.5, weight_decay=0.01)
    kernel, bias = step(optimizer, weights)
    assert kernel == pytest.approx([1 - 0.1 * (0.5 + 0.01), -2 - 0.1 * (0.5 - 0.02)])
    assert bias == pytest.approx([3 - 0.1 * 0.5])
    assert step(optimizer, weights)[1] == pytest.approx([3 - 0.05 - (0.05 + 0.5 * 0.05)])


def test_adamw_by_hand_has_decoupled_decay():
    # Adam's first step is the learning rate times the sign of the gradient.
    kernel, bias = step(build(optimizer="adamw", weight_decay=0.2), variables())
    assert kernel == pytest.approx([1 - 0.1 * 0.2 - 0.1, -2 * (1 - 0.1 * 0.2) - 0.1], rel=1e-5)
    assert bias == pytest.approx([3 - 0.1], rel=1e-5)


def test_adamw_equals_that_of_keras():
    ours, theirs = variables(), variables()
    keras_own = keras.optimizers.AdamW(RATE, weight_decay=0.2)
    keras_own.exclude_from_weight_decay(var_list=[theirs[1]])
    optimizer = build(optimizer="adamw", weight_decay=0.2)
    for gradient in (0.5, -1.0, 0.1):
        expected = step(keras_own, theirs, gradient)
        np.testing.assert_allclose(
            np.concatenate(step(optimizer, ours, gradient)), np.concatenate(expected), rtol=1e-6
        )


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_encoder_has_a_fraction_of_the_learning_rate(name):
    weights = variables()
    decay = {} if name == "adam" else {"weight_decay": 0.2}
    factor = {"encoder_learning_rate_factor": 0.1}
    slow = step(build(weights[:1], optimizer=name, **decay, **factor), weights)
    full = step(build(optimizer=name, **decay), variables())
    # The encoder's kernel moves a tenth of the way, decay included; the decoder's bias moves fully.
    moved = (np.array(full[0]) - [1, -2]) / 10
    assert slow[0] == pytest.approx(([1, -2] + moved).tolist(), rel=1e-5)
    assert slow[1] == full[1]


def test_accumulated_gradients_are_averaged_over_the_batches():
    weights = variables()
    optimizer = build(optimizer="sgd", momentum=0.0, gradient_accumulation_steps=2)
    assert step(optimizer, weights, 0.2) == [[1, -2], [3]]
    assert step(optimizer, weights, 0.6)[1] == pytest.approx([3 - 0.1 * (0.2 + 0.6) / 2])


def test_gradients_are_clipped_by_their_global_norm():
    weights = variables()
    # Three gradients of 2: norm sqrt(12), scaled down to 1.
    kernel, _ = step(build(optimizer="sgd", momentum=0.0, clip_norm=1.0), weights, 2.0)
    assert kernel[0] == pytest.approx(1 - 0.1 * 2 / 12**0.5)


def test_all_state_is_in_the_variables():
    # Another optimizer with these variables continues exactly like the first.
    fields = {"optimizer": "adamw", "weight_decay": 0.2, "gradient_accumulation_steps": 2}
    fields |= {"ema_momentum": 0.9}
    weights = variables()
    first = build(**fields)
    for gradient in (0.5, -1.0, 0.1):
        step(first, weights, gradient)
    again = variables()
    second = build(**fields)
    second.build(again)
    for ours, theirs in ((again, weights), (second.variables, first.variables)):
        for variable, value in zip(ours, theirs, strict=True):
            variable.assign(value)
    assert step(second, again, 0.7) == step(first, weights, 0.7)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_keeps_its_rules_when_serialized(name):
    weights, again = variables(), variables()
    fields = {"weight_decay": 0.2, "encoder_learning_rate_factor": 0.1}
    first = build(weights[:1], optimizer=name, **fields)
    second = type(first).from_config(first.get_config())
    assert step(first, weights) == step(second, again)
