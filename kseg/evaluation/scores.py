"""IoU, precision, recall and F1 from a confusion matrix of exact pixel counts. NumPy only."""

from typing import Any

import numpy as np

from kseg.labels import IGNORE_ID, LabelSet

# Part of the identity of recorded scores (kseg.compare, kseg.report). Increase it with every change
# that gives other scores or counts for the same weights and records: here, in
# kseg.evaluation.boundary and calibration, or in how kseg.data.records decodes.
# 2: frames and classes without a pixel to count have no score, instead of 0.
SCORES_VERSION = 2


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int, ignore_class: int = IGNORE_ID
) -> np.ndarray:
    """Counts pixels: integer arrays of one shape -> (C, C) int64, rows truth, columns prediction.

    Raises ValueError on an id that is neither a class nor ignored: skipping it would improve the
    scores.
    """
    counted = truth != ignore_class
    truth, predicted = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for name, ids in (("truth", truth), ("prediction", predicted)):
        if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
            raise ValueError(
                f"{name} has ids {ids.min()}..{ids.max()}, expected 0..{num_classes - 1}"
            )
    counts = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def compute_scores(confusion: np.ndarray, labels: LabelSet) -> dict[str, float | None]:
    """Returns {"mean_iou", "pixel_accuracy", "drivable_iou", "iou/<class>"..., "precision/<class>",
    "recall/<class>", "f1/<class>"}, 0..1.

    drivable_iou is there only if the label set has drivable classes; f1 equals Dice. A score is
    None (JSON has no NaN) when it has no pixels to count: IoU and f1 of a class in neither truth
    nor prediction, precision of a class never predicted, recall of a class not in the truth, all
    of a frame with nothing but ignored pixels. The mean IoU leaves out classes without an IoU.
    """
    values = scores_from(confusion.astype(np.float64), labels, np)
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def scores_from(confusion: Any, labels: LabelSet, xp: Any) -> dict[str, Any]:
    """Computes the scores from float arrays of NumPy or tensors of Keras, NaN in place of None.

    xp: the module that computes, numpy or keras.ops.
    """
    true_positives = xp.diagonal(confusion)
    in_truth, predicted = xp.sum(confusion, axis=1), xp.sum(confusion, axis=0)
    union = in_truth + predicted - true_positives

    def ratio(count, total):
        return xp.where(total > 0, count / xp.maximum(total, 1.0), float("nan"))

    iou = ratio(true_positives, union)
    present = xp.sum(xp.where(union > 0, 1.0, 0.0))
    result = {
        "mean_iou": ratio(xp.sum(xp.where(union > 0, iou, 0.0)), present),
        "pixel_accuracy": ratio(xp.sum(true_positives), xp.sum(confusion)),
    }
    if labels.drivable_ids:
        # Two classes, drivable or not, as YOLOP reports it; not comparable with mean_iou.
        ids = labels.drivable_ids
        intersection = sum(confusion[i, j] for i in ids for j in ids)
        union = sum(in_truth[i] + predicted[i] for i in ids) - intersection
        result["drivable_iou"] = ratio(intersection, union)
    by_class = {
        "iou": iou,
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, in_truth),
        "f1": ratio(2 * true_positives, in_truth + predicted),
    }
    for score, values in by_class.items():
        result |= {f"{score}/{name}": values[i] for i, name in enumerate(labels.names)}
    return result
