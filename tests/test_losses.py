import math

import keras
import numpy as np
import pytest
from keras import ops

from kseg import losses
from kseg.labels import IGNORE_ID


def logits_of(probabilities):
    return np.log(np.asarray(probabilities, np.float32))


# Two pixels, two classes, both masks class 0; P(class 0) is 0.75 and 0.25. Without smoothing:
# overlap 1.0, sum of p 1.0, sum of t 2: Dice of class 0 is 2 * 1 / 3. Class 1 is absent.
MASK = np.array([[[0, 0]]])
LOGITS = logits_of([[[[0.75, 0.25], [0.25, 0.75]]]])


def test_dice_by_hand():
    assert float(losses.Dice(smooth=0)(MASK, LOGITS)) == pytest.approx(1 / 3, abs=1e-6)


def test_log_dice_by_hand():
    loss = losses.Dice(log=True, smooth=0)(MASK, LOGITS)
    assert float(loss) == pytest.approx(-math.log(2 / 3), abs=1e-6)


def test_mean_over_the_classes_that_are_there():
    # Class 0: 2 * 0.75 / (1.0 + 1) = 0.75. Class 1: 2 * 0.75 / (1.0 + 1) = 0.75. Class 2 absent.
    mask = np.array([[[0, 1]]])
    logits = logits_of([[[[0.75, 0.25, 1e-9], [0.25, 0.75, 1e-9]]]])
    assert float(losses.Dice(smooth=0)(mask, logits)) == pytest.approx(0.25, abs=1e-5)


def test_perfect_is_near_zero_and_opposite_is_large():
    mask = np.random.default_rng(0).integers(0, 3, (2, 8, 9))
    right = 50.0 * np.eye(3, dtype=np.float32)[mask]
    assert float(losses.Dice()(mask, right)) < 1e-3
    assert float(losses.Dice()(mask, -right)) > 0.6


@pytest.mark.parametrize("name", ["dice", "log_dice", "cross_entropy"])
def test_an_ignored_pixel_changes_nothing(name):
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 3, (1, 4, 6))
    logits = rng.normal(size=(1, 4, 6, 3)).astype(np.float32)
    other = logits.copy()
    mask[0, 2] = IGNORE_ID
    other[0, 2] = 99.0
    loss = losses.build(name)
    assert float(loss(mask, logits)) == pytest.approx(float(loss(mask, other)), abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "log_dice"])
@pytest.mark.parametrize("fill", [0, IGNORE_ID])
def test_absent_classes_and_ignored_batches_give_finite_gradients(name, fill):
    import tensorflow as tf

    mask = np.full((1, 4, 4), fill)
    logits = tf.Variable(np.zeros((1, 4, 4, 3), np.float32))
    with tf.GradientTape() as tape:
        loss = losses.build(name)(mask, logits)
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()
    if fill == IGNORE_ID:
        assert float(loss) == 0.0


def test_masks_with_a_last_axis_are_the_same_masks():
    assert float(losses.Dice()(MASK[..., None], LOGITS)) == float(losses.Dice()(MASK, LOGITS))


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 1), (1, 1, 2, 2)])
def test_masks_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="expected masks"):
        losses.Dice()(np.zeros(shape, int), LOGITS)


def test_loss_survives_serialization():
    config = keras.losses.serialize(losses.Dice(log=True, smooth=2.0))["config"]
    again = losses.Dice(**config)
    assert float(again(MASK, LOGITS)) == float(losses.Dice(log=True, smooth=2.0)(MASK, LOGITS))


def test_gradient_lowers_the_loss():
    logits = keras.Variable(np.zeros((1, 1, 2, 2), np.float32))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = losses.Dice(log=True)(MASK, logits)
    step = logits.value - 5.0 * tape.gradient(loss, logits.value)
    assert float(losses.Dice(log=True)(MASK, ops.convert_to_tensor(step))) < float(loss)
