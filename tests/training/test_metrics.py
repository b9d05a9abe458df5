import numpy as np
import pytest

from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.labels import BDD100K_DRIVABLE, CAMVID_11, IGNORE_ID
from kseg.training import metrics

# 3 direct, 2 alternative, 3 background, 1 ignored pixel.
TRUTH = np.array([[0, 0, 0, 1, 1, 2, 2, 2, IGNORE_ID]])
PREDICTION = np.array([[0, 0, 1, 1, 2, 2, 2, 0, 0]])
# direct: intersection 2, union 3 + 3 - 2 = 4. alternative: 1 of 2 + 2 - 1 = 3. background: 2 of 4.
# drivable: truth 5, prediction 5, intersection 4, union 6.
EXPECTED = {
    "iou/direct": 2 / 4,
    "iou/alternative": 1 / 3,
    "iou/background": 2 / 4,
    "mean_iou": (1 / 2 + 1 / 3 + 1 / 2) / 3,
    "drivable_iou": 4 / 6,
    "pixel_accuracy": 5 / 8,
    "precision/direct": 2 / 3,
    "precision/alternative": 1 / 2,
    "precision/background": 2 / 3,
    "recall/direct": 2 / 3,
    "recall/alternative": 1 / 2,
    "recall/background": 2 / 3,
    "f1/direct": 2 / 3,
    "f1/alternative": 1 / 2,
    "f1/background": 2 / 3,
}


def as_logits(ids, classes=3):
    return 5.0 * np.eye(classes, dtype=np.float32)[ids]


def test_scores_by_hand():
    confusion = confusion_matrix(TRUTH, PREDICTION, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 2]]
    assert compute_scores(confusion, BDD100K_DRIVABLE) == pytest.approx(EXPECTED)


def test_the_keras_metric_gives_the_same_scores_over_batches_and_resets():
    metric = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    metric.update_state(TRUTH[None, :, :4], as_logits(PREDICTION[None, :, :4]))
    metric.update_state(TRUTH[None, :, 4:], as_logits(PREDICTION[None, :, 4:]))
    assert {k: float(v) for k, v in metric.result().items()} == pytest.approx(EXPECTED)
    metric.reset_state()
    assert metric.confusion().sum() == 0


def test_counts_are_exact_beyond_float32_and_int32():
    metric = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    mask, logits = np.zeros((1, 64, 64), int), as_logits(np.zeros((1, 64, 64), int))
    metric.update_state(mask, logits)
    # As if 2**33 pixels had been counted before: float32 would lose the next one.
    metric.high.assign(np.eye(10)[0] * 2**9)
    metric.low.assign(np.eye(10)[0] * (2**24 - 1))
    metric.update_state(mask[:, :1, :1], logits[:, :1, :1])
    assert metric.confusion()[0, 0] == 2**33 + 2**24


def test_more_than_2_to_the_24_real_pixels():
    metric = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    mask = np.zeros((1, 2048, 2049), np.int32)
    logits = np.zeros((1, 2048, 2049, 3), np.float32)  # A tie: class 0.
    for _ in range(5):
        metric.update_state(mask, logits)
    assert metric.confusion()[0, 0] == 5 * 2048 * 2049


def test_a_class_without_pixels_is_left_out_of_the_mean():
    confusion = confusion_matrix(np.array([3, 3, 0]), np.array([3, 3, 0]), 11)
    scores = compute_scores(confusion, CAMVID_11)
    assert scores["mean_iou"] == 1.0 and scores["iou/tree"] is None
    assert scores["precision/tree"] is None and scores["f1/tree"] is None


def test_a_frame_with_nothing_but_ignored_pixels_has_no_score():
    scores = compute_scores(np.zeros((3, 3), np.int64), BDD100K_DRIVABLE)
    assert set(scores.values()) == {None}
    metric = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    metric.update_state(np.full((1, 2, 2), 255), np.zeros((1, 2, 2, 3), np.float32))
    assert all(np.isnan(float(value)) for value in metric.result().values())


def test_drivable_iou_without_a_drivable_pixel_is_no_score():
    background = np.array([2, 2])
    scores = compute_scores(confusion_matrix(background, background, 3), BDD100K_DRIVABLE)
    assert scores["drivable_iou"] is None and scores["mean_iou"] == 1
    predicted = confusion_matrix(background, np.array([2, 0]), 3)
    assert compute_scores(predicted, BDD100K_DRIVABLE)["drivable_iou"] == 0


def test_precision_and_recall_by_hand():
    # Class 0: 1 of 4 pixels predicted, and 2 of class 1 predicted as 0. Class 2 is never predicted.
    confusion = confusion_matrix(
        np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 0, 1]), 3
    )
    scores = compute_scores(confusion, BDD100K_DRIVABLE)
    assert scores["recall/direct"] == 1 / 4 and scores["precision/direct"] == 1 / 3
    # 2 * TP / (pixels in truth + pixels predicted).
    assert scores["f1/direct"] == pytest.approx(2 * 1 / (4 + 3))
    assert scores["precision/background"] is None and scores["recall/background"] == 0


@pytest.mark.parametrize(("truth", "predicted"), [([3], [0]), ([0], [3]), ([0], [-1])])
def test_ids_out_of_range_are_refused(truth, predicted):
    with pytest.raises(ValueError, match=r"expected 0\.\.2"):
        confusion_matrix(np.array(truth), np.array(predicted), 3)


@pytest.mark.parametrize("unknown", [3, 254, -1])
def test_the_keras_metric_does_not_hide_ids_out_of_range(unknown):
    metric = metrics.SegmentationMetrics(BDD100K_DRIVABLE)
    truth = TRUTH[None].copy()
    metric.update_state(truth, as_logits(PREDICTION[None]))
    truth[0, 0, 0] = unknown
    metric.update_state(truth, as_logits(PREDICTION[None]))
    assert all(np.isnan(float(value)) for value in metric.result().values())
    with pytest.raises(ValueError, match=r"1 pixels.*0\.\.2"):
        metric.confusion()
