"""IoU, precision, recall and F1 from a confusion matrix of exact pixel counts. NumPy only."""

import numpy as np

from kseg.labels import IGNORE_ID


def confusion_matrix(truth, predicted, num_classes, ignore_class=IGNORE_ID):
    """Counts pixels: integer arrays of one shape -> (C, C) int64, rows truth, columns prediction.

    Raises ValueError on an id that is neither a class nor ignored: dropping it would flatter.
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


def compute_scores(confusion, labels):
    """Returns {"mean_iou", "pixel_accuracy", "drivable_iou", "iou/<class>"..., "precision/<class>",
    "recall/<class>", "f1/<class>"} as floats, 0..1.

    precision is the share of the pixels called c that are c, recall the share of c that was found,
    f1 their harmonic mean (Dice). A class in neither truth nor prediction has no IoU (None: JSON
    has no NaN) and is left out of the mean; likewise precision of a class never predicted and
    recall of one that never occurs.
    """
    values = scores_from(confusion.astype(np.float64), labels, np)
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def scores_from(confusion, labels, xp):
    """The formulas, once, for arrays of NumPy and tensors of keras.ops; xp is that module."""
    hits = xp.diagonal(confusion)
    in_truth, predicted = xp.sum(confusion, axis=1), xp.sum(confusion, axis=0)
    union = in_truth + predicted - hits

    def share(part, of):
        return xp.where(of > 0, part / xp.maximum(of, 1.0), float("nan"))

    iou = share(hits, union)
    present = xp.sum(xp.where(union > 0, 1.0, 0.0))
    result = {
        "mean_iou": xp.sum(xp.where(union > 0, iou, 0.0)) / xp.maximum(present, 1.0),
        "pixel_accuracy": xp.sum(hits) / xp.maximum(xp.sum(confusion), 1.0),
    }
    if labels.drivable_ids:
        # Binary drivable-or-not, the number of YOLOP and its kin; not comparable with mean_iou.
        ids = labels.drivable_ids
        both = sum(confusion[i, j] for i in ids for j in ids)
        either = sum(in_truth[i] + predicted[i] for i in ids) - both
        result["drivable_iou"] = both / xp.maximum(either, 1.0)
    by_class = {
        "iou": iou,
        "precision": share(hits, predicted),
        "recall": share(hits, in_truth),
        "f1": share(2 * hits, in_truth + predicted),
    }
    for score, values in by_class.items():
        result |= {f"{score}/{name}": values[i] for i, name in enumerate(labels.names)}
    return result
