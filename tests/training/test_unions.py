"""Losses and training scores where a label is a union of classes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID
from kseg.model_names import LOSSES
from kseg.training import losses, metrics

UNIONS = ((0, 1),)  # direct|alternative, with id 3.

# Two pixels: one of direct, one of direct|alternative.
MASK = np.array([[[0, 3]]])
LOGITS = np.log(np.array([[[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]]], np.float32))

# Class weights 3, 1, 1; the union's is (3 + 1) / 2 = 2.
WEIGHTS = [3, 1, 1]


def test_cross_entropy_by_hand():
    # P(direct) is 0.5, P(direct|alternative) 0.75.
    costs = -math.log(0.5), -math.log(0.75)
    loss = losses.CrossEntropy(unions=UNIONS)(MASK, LOGITS)
    assert float(loss) == pytest.approx(sum(costs) / 2, abs=1e-6)
    weighted = losses.CrossEntropy(WEIGHTS, unions=UNIONS)(MASK, LOGITS)
    assert float(weighted) == pytest.approx((3 * costs[0] + 2 * costs[1]) / 5, abs=1e-6)


def test_focal_by_hand():
    expected = -(0.5**2 * math.log(0.5) + 0.25**2 * math.log(0.75)) / 2
    loss = losses.CrossEntropy(gamma=2.0, unions=UNIONS)(MASK, LOGITS)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_dice_by_hand():
    # direct, first pixel only: 2 * 0.5 / (0.5 + 1). The union, both pixels: 2 * 1.5 / (1.5 + 2).
    # Alternative and background have no pixel.
    dice = (2 / 3, 6 / 7)
    loss = losses.Dice(smooth=0, unions=UNIONS)(MASK, LOGITS)
    assert float(loss) == pytest.approx((1 / 3 + 1 / 7) / 2, abs=1e-6)
    log = losses.Dice(log=True, smooth=0, unions=UNIONS)(MASK, LOGITS)
    assert float(log) == pytest.approx(-(math.log(dice[0]) + math.log(dice[1])) / 2, abs=1e-6)
    weighted = losses.Dice(smooth=0, class_weights=WEIGHTS, unions=UNIONS)(MASK, LOGITS)
    assert float(weighted) == pytest.approx((3 / 3 + 2 / 7) / 5, abs=1e-6)


def test_a_pixel_of_the_union_is_a_wrong_one_to_background():
    # Background has the second pixel. On the first, of the union, its P = 0.25 is a false positive:
    # 2 * 0.75 / (0.25 + 0.75 + 1). Union: its pixel has P 0.75, the other one 0.25 too much.
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]]], np.float32))
    loss = losses.Dice(smooth=0, unions=UNIONS)(np.array([[[3, 2]]]), logits)
    assert float(loss) == pytest.approx((0.25 + 0.25) / 2, abs=1e-6)


def test_tversky_by_hand():
    # direct: TP 0.5, FN 0.5; the union: TP 1.5, FN 0.5; no false positives.
    costs = [1 - tp / (tp + 0.7 * 0.5) for tp in (0.5, 1.5)]
    loss = losses.Tversky(0.7, smooth=0, unions=UNIONS)(MASK, LOGITS)
    assert float(loss) == pytest.approx(sum(costs) / 2, abs=1e-6)
    focal = losses.Tversky(0.7, smooth=0, gamma=4 / 3, unions=UNIONS)(MASK, LOGITS)
    assert float(focal) == pytest.approx(sum(c**0.75 for c in costs) / 2, abs=1e-6)


def test_lovasz_by_hand():
    # direct: one pixel, error 0.5; a wrong one makes the Jaccard loss 1. The union: two pixels,
    # error 1 - 0.75 each; each adds 1/2 to the Jaccard loss.
    loss = losses.LovaszSoftmax(unions=UNIONS)(MASK, LOGITS)
    assert float(loss) == pytest.approx((0.5 + (0.25 + 0.25) / 2) / 2, abs=1e-6)


def test_a_label_that_overlaps_a_union_does_not_count_for_it():
    # Unions a|b (id 3) and b|c (id 4), a pixel of each. For a: the first is undecided, the second a
    # wrong one; no pixel is of a. a|b has only its own pixel, and so has b|c.
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]]], np.float32))
    loss = losses.Dice(smooth=0, unions=((0, 1), (1, 2)))(np.array([[[3, 4]]]), logits)
    assert float(loss) == pytest.approx(1 - 2 * 0.75 / 1.75, abs=1e-6)


def random_case(seed, unions=2):
    """Masks of 4 classes, `unions` unions and ignored pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 4 + unions, (2, 7, 11))
    mask[rng.random(mask.shape) < 0.2] = IGNORE_ID
    return mask, rng.normal(0, 2, (*mask.shape, 4)).astype(np.float32)


TWO = ((0, 1), (1, 2, 3))


@pytest.mark.parametrize("name", LOSSES)
def test_without_pixels_of_unions_the_loss_is_the_one_without_unions(name):
    mask, logits = random_case(0, unions=0)
    for weights in (None, [0.2, 5, 1, 9]):
        plain = losses.build(name, weights)(mask, logits)
        assert float(losses.build(name, weights, unions=())(mask, logits)) == float(plain)
        with_unions = losses.build(name, weights, unions=TWO)(mask, logits)
        assert float(with_unions) == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_how_a_unions_probability_is_divided_changes_nothing(name):
    mask, logits = random_case(1, unions=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    moved = probabilities.copy()
    of_union = mask == 4
    total = probabilities[of_union][:, [0, 1]].sum(-1)
    moved[of_union, 0], moved[of_union, 1] = 0.9 * total, 0.1 * total
    loss = losses.build(name, [0.2, 5, 1, 9], unions=UNIONS)
    before = float(loss(mask, logits))
    assert float(loss(mask, np.log(moved))) == pytest.approx(before, rel=1e-5)
    # But it matters how much the union has.
    moved[of_union, 2] += 0.5 * moved[of_union, 0]
    moved[of_union, 0] *= 0.5
    assert float(loss(mask, np.log(moved))) > before


def gradient_of(loss, mask, logits):
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(mask, logits)
    return tape.gradient(value, logits).numpy()


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_raises_all_classes_of_a_union(name):
    mask, logits = random_case(2, unions=1)
    gradient = gradient_of(losses.build(name, unions=UNIONS), mask, logits)[mask == 4]
    assert (gradient[:, :2] < 0).all()
    # Moving probability from one class to the other changes nothing: dz = (-1 / p0, 1 / p1).
    p = np.exp(logits[mask == 4])
    along = gradient[:, 1] / p[:, 1] - gradient[:, 0] / p[:, 0]
    assert np.abs(along).max() < 1e-5 * np.abs(gradient[:, :2] / p[:, :2]).max()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name):
    mask, logits = random_case(3)
    loss = losses.build(name, [0.2, 5, 1, 9], unions=TWO)
    gradient = gradient_of(loss, mask, logits)
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=logits.shape).astype(np.float32)
        direction *= 0.05 / np.linalg.norm(direction)
        change = float(loss(mask, logits + direction)) - float(loss(mask, logits - direction))
        assert change / 2 == pytest.approx(float((gradient * direction).sum()), rel=0.02, abs=3e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [0.0, 200.0])
def test_gradients_are_finite_where_the_model_is_certain(name, size):
    for fill in (4, 5, IGNORE_ID):
        logits = np.full((1, 4, 4, 4), [size, 0, 0, 0], np.float32)
        gradient = gradient_of(losses.build(name, unions=TWO), np.full((1, 4, 4), fill), logits)
        assert np.isfinite(gradient).all()


def test_losses_survive_serialization():
    import keras

    for loss in (
        losses.Dice(log=True, unions=UNIONS),
        losses.CrossEntropy(WEIGHTS, unions=UNIONS),
        losses.Tversky(0.6, unions=UNIONS),
        losses.LovaszSoftmax(unions=UNIONS),
    ):
        again = type(loss)(**keras.losses.serialize(loss)["config"])
        assert float(again(MASK, LOGITS)) == float(loss(MASK, LOGITS))


def test_pixels_of_unions_are_left_out_of_the_training_scores():
    plain = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    mixed = metrics.SegmentationMetrics(BDD100K_DRIVABLE, unions=1)
    truth, predicted = np.array([[[0, 1, 2, 3, 3]]]), np.array([[[0, 0, 2, 0, 2]]])
    logits = np.eye(3, dtype=np.float32)[predicted]
    mixed.update_state(truth, logits)
    plain.update_state(np.where(truth == 3, IGNORE_ID, truth), logits)
    assert mixed.confusion().tolist() == plain.confusion().tolist()
    # The next id is not a union's.
    mixed.update_state(truth + 1, logits)
    with pytest.raises(ValueError, match=r"ids outside 0\.\.2"):
        mixed.confusion()
