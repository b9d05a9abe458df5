import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.model_names import LOSSES
from kseg.training import losses


def logits_of(probabilities):
    return np.log(np.asarray(probabilities, np.float32))


# Two pixels, two classes, both masks class 0; P(class 0) is 0.75 and 0.25. Without smoothing:
# overlap 1.0, sum of p 1.0, sum of t 2: Dice of class 0 is 2 * 1 / 3. Class 1 is absent.
MASK = np.array([[[0, 0]]])
LOGITS = logits_of([[[[0.75, 0.25], [0.25, 0.75]]]])
# Ground truth with one pixel of each class.
BOTH = np.array([[[0, 1]]])


def test_dice_by_hand():
    assert float(losses.Dice(smooth=0)(MASK, LOGITS)) == pytest.approx(1 / 3, abs=1e-6)


def test_log_dice_by_hand():
    loss = losses.Dice(log=True, smooth=0)(MASK, LOGITS)
    assert float(loss) == pytest.approx(-math.log(2 / 3), abs=1e-6)


def test_dice_is_the_mean_over_present_classes():
    # Class 0: 2 * 0.75 / (1.0 + 1) = 0.75. Class 1: 2 * 0.75 / (1.0 + 1) = 0.75. Class 2 absent.
    logits = logits_of([[[[0.75, 0.25, 1e-9], [0.25, 0.75, 1e-9]]]])
    assert float(losses.Dice(smooth=0)(BOTH, logits)) == pytest.approx(0.25, abs=1e-5)


def test_cross_entropy_by_hand():
    # -log of 0.75 and 0.25; weighted 3 : 1 when the second pixel is class 1 with P 0.75.
    expected = -(math.log(0.75) + math.log(0.25)) / 2
    assert float(losses.CrossEntropy()(MASK, LOGITS)) == pytest.approx(expected, abs=1e-6)
    logits = logits_of([[[[0.5, 0.5], [0.25, 0.75]]]])
    expected = -(3 * math.log(0.5) + 1 * math.log(0.75)) / 4
    assert float(losses.CrossEntropy([3, 1])(BOTH, logits)) == pytest.approx(expected, abs=1e-6)


def test_focal_by_hand():
    # (1 - 0.75)^2 and (1 - 0.25)^2 times the cross-entropies.
    expected = -(0.0625 * math.log(0.75) + 0.5625 * math.log(0.25)) / 2
    assert float(losses.CrossEntropy(gamma=2.0)(MASK, LOGITS)) == pytest.approx(expected, abs=1e-6)


def test_tversky_by_hand():
    # Class 0: TP 1.0, FP 0, FN 1.0. beta 0.7: 1 / (1 + 0.7). Class 1 is absent.
    loss = losses.Tversky(0.7, smooth=0)(MASK, LOGITS)
    assert float(loss) == pytest.approx(1 - 1 / 1.7, abs=1e-6)
    focal = losses.Tversky(0.7, smooth=0, gamma=4 / 3)(MASK, LOGITS)
    assert float(focal) == pytest.approx((1 - 1 / 1.7) ** 0.75, abs=1e-6)


def test_lovasz_by_hand():
    # Class 0 has errors 0.75 and 0.25, both on pixels of the class. One wrong pixel adds 1/2 to the
    # Jaccard loss, the second another 1/2, so 0.75 / 2 + 0.25 / 2. Class 1 is absent.
    assert float(losses.LovaszSoftmax()(MASK, LOGITS)) == pytest.approx(0.5, abs=1e-6)
    # One pixel of each class, predicted with P 0.5 and 0.75: errors 0.5 and 0.25 for both classes.
    # For class 0 its own pixel comes first: the Jaccard loss is 1 and stays so, hence 0.5. For
    # class 1 the other pixel comes first: the loss is 1/2, then 1, hence 0.5 / 2 + 0.25 / 2.
    logits = logits_of([[[[0.5, 0.5], [0.25, 0.75]]]])
    expected = (0.5 + 0.375) / 2
    assert float(losses.LovaszSoftmax()(BOTH, logits)) == pytest.approx(expected, abs=1e-6)
    weighted = losses.LovaszSoftmax([3, 1])(BOTH, logits)
    assert float(weighted) == pytest.approx((3 * 0.5 + 0.375) / 4, abs=1e-6)


def test_class_weights_of_dice_by_hand():
    # Predicted with P 0.5 and 0.75. Class 0: 2 * 0.5 / (0.75 + 1). Class 1: 2 * 0.75 / (1.25 + 1).
    logits = logits_of([[[[0.5, 0.5], [0.25, 0.75]]]])
    dice = (1 / 1.75, 1.5 / 2.25)
    expected = (3 * (1 - dice[0]) + 1 * (1 - dice[1])) / 4
    loss = losses.Dice(smooth=0, class_weights=[3, 1])(BOTH, logits)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_a_sum_adds_its_terms_by_weight():
    dice, entropy = (float(losses.build(name)(MASK, LOGITS)) for name in ("dice", "cross_entropy"))
    loss = losses.build("dice + 0.5*cross_entropy")(MASK, LOGITS)
    assert float(loss) == pytest.approx(dice + 0.5 * entropy, abs=1e-6)
    assert float(losses.build("2*dice")(MASK, LOGITS)) == pytest.approx(2 * dice, abs=1e-6)


@pytest.mark.parametrize(
    "wrong", ["", "dice+", "dice+ce", "0*dice", "-1*dice", "x*dice", "dice*2", "1e999*dice"]
)
def test_invalid_expressions_are_refused(wrong):
    with pytest.raises(InputError, match=r"loss.*cross_entropy"):
        losses.build(wrong)


def random_case(seed, classes=4):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, classes - 1, (2, 7, 11))  # The last class is absent.
    mask[rng.random(mask.shape) < 0.2] = IGNORE_ID
    return mask, rng.normal(0, 3, (*mask.shape, classes)).astype(np.float32)


def reference(name, mask, logits, weights):
    """The formulas of the papers pixel by pixel, in float64 NumPy."""
    keep = mask != IGNORE_ID
    ids, x = mask[keep], logits[keep].astype(np.float64)
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    right, w = p[np.arange(len(ids)), ids], np.asarray(weights)[ids]
    if name == "cross_entropy":
        return (w * -np.log(right)).sum() / w.sum()
    if name == "focal":
        return (w * (1 - right) ** 2 * -np.log(right)).sum() / w.sum()
    present = np.unique(ids)
    costs = [_reference_of_class(name, (ids == c).astype(float), p[:, c]) for c in present]
    return np.average(costs, weights=np.asarray(weights)[present])


def _reference_of_class(name, t, p):
    if name == "lovasz":
        errors, cost, before = np.abs(t - p), 0.0, 0.0
        wrong = np.zeros(len(t), bool)
        for pixel in np.argsort(-errors):
            wrong[pixel] = True
            # Intersection over union if exactly these pixels were wrong.
            union = (t > 0) | wrong
            jaccard = 1 - ((t > 0) & ~wrong).sum() / union.sum()
            cost, before = cost + errors[pixel] * (jaccard - before), jaccard
        return cost
    beta = 0.7 if "tversky" in name else 0.5
    tp, fp, fn = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
    index = (tp + 0.5) / (tp + (1 - beta) * fp + beta * fn + 0.5)
    costs = {"log_dice": -np.log(index), "focal_tversky": (1 - index) ** 0.75}
    return costs.get(name, 1 - index)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [0.2, 5, 1, 9]])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_equals_the_formula_of_its_paper(name, weights):
    mask, logits = random_case(0)
    loss = losses.build(name, None if weights[0] == 1 else weights)(mask, logits)
    assert float(loss) == pytest.approx(reference(name, mask, logits, weights), rel=2e-5)


def test_cross_entropy_without_weights_equals_that_of_keras():
    mask, logits = random_case(1)
    keras_own = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE_ID)
    ours = float(losses.CrossEntropy()(mask, logits))
    assert ours == pytest.approx(float(keras_own(mask, logits)), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_an_ignored_pixel_changes_nothing(name):
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 3, (1, 4, 6))
    logits = rng.normal(size=(1, 4, 6, 3)).astype(np.float32)
    other = logits.copy()
    mask[0, 2] = IGNORE_ID
    other[0, 2] = 99.0
    loss = losses.build(name)
    assert float(loss(mask, logits)) == pytest.approx(float(loss(mask, other)), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fill", [0, 2, IGNORE_ID])
@pytest.mark.parametrize("size", [0.0, 200.0])  # Undecided, and certain of class 0.
def test_absent_classes_and_ignored_batches_give_finite_gradients(name, fill, size):
    mask = np.full((1, 4, 4), fill)
    logits = tf.Variable(np.full((1, 4, 4, 3), [size, 0, 0], np.float32))
    with tf.GradientTape() as tape:
        loss = losses.build(name, [0.5, 1, 2])(mask, logits)
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()
    if fill == IGNORE_ID:
        assert float(loss) == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_masks_may_have_a_last_axis_of_1_and_other_shapes_are_refused(name):
    loss = losses.build(name)
    assert float(loss(MASK[..., None], LOGITS)) == float(loss(MASK, LOGITS))
    for shape in [(1, 2), (1, 2, 1), (1, 1, 2, 2)]:
        with pytest.raises(ValueError, match="expected masks"):
            loss(np.zeros(shape, int), LOGITS)


@pytest.mark.parametrize(
    "loss",
    [
        losses.Dice(log=True, smooth=2.0),
        losses.CrossEntropy([3, 1], gamma=1.5),
        losses.Tversky(0.6, gamma=1.2),
        losses.LovaszSoftmax([1, 2]),
    ],
)
def test_losses_survive_serialization(loss):
    again = type(loss)(**keras.losses.serialize(loss)["config"])
    assert float(again(BOTH, LOGITS)) == float(loss(BOTH, LOGITS))


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_against_the_gradient_lowers_the_loss_as_predicted(name):
    mask, start = random_case(2)
    loss, logits = losses.build(name), tf.Variable(start)
    with tf.GradientTape() as tape:
        value = loss(mask, logits)
    gradient = tape.gradient(value, logits)
    step = 0.1 * gradient / tf.norm(gradient)
    # A wrong gradient would predict another decrease.
    expected = float(tf.reduce_sum(step * gradient))
    decrease = float(value) - float(loss(mask, start - step))
    assert decrease == pytest.approx(expected, rel=0.1)


def test_median_frequency_weights_by_hand():
    # The median of 0.1, 0.2, 0.7 is 0.2; the class that does not occur weighs 1.
    weights = losses.median_frequency_weights([0.7, 0.1, 0.0, 0.2])
    assert weights == pytest.approx([2 / 7, 2.0, 1.0, 1.0])


@pytest.mark.parametrize("name", [*LOSSES, "dice+0.5*focal"])
def test_losses_have_a_shape_that_keras_averages_over_devices(name):
    # A scalar would be summed: twice the loss on two devices.
    assert losses.build(name).call(MASK, LOGITS).shape == (1,)
