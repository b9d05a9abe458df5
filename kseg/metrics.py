"""IoU from a confusion matrix, exact at any number of pixels, on logits or class maps."""

import keras
import numpy as np
from keras import ops

from kseg.labels import IGNORE_ID

_CARRY_BITS = 24


class SegmentationMetrics(keras.metrics.Metric):
    """The numbers of `scores` in one pass over the pixels.

    update_state: y_true (B, H, W) integer ids, y_pred (B, H, W, C) logits. Ignored pixels do not
    count. result() is a dict of scalars; a class that is in neither truth nor prediction is left
    out of the mean.

    The counts are kept as two int32 parts, low + high * 2**24, because float32 is exact only to
    2**24 and JAX has no int64 unless asked: exact to 2**55 pixels on every backend.
    """

    def __init__(self, labels, ignore_class=IGNORE_ID, name="segmentation"):
        super().__init__(name=name)
        self.labels, self.ignore_class = labels, ignore_class
        size = (len(labels.classes) ** 2,)
        self.low = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="low")
        self.high = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="high")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported; mark pixels with the ignore id")
        count = len(self.labels.classes)
        truth = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        predicted = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1,))
        # Ignored pixels go to one bin past the matrix, which is cut off.
        cell = ops.where(truth == self.ignore_class, count * count, truth * count + predicted)
        # Not ops.bincount: its length is not static under JAX's jit.
        counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=count * count + 1)
        low = self.low + counts[: count * count]
        self.high.assign(self.high + ops.right_shift(low, _CARRY_BITS))
        self.low.assign(ops.bitwise_and(low, 2**_CARRY_BITS - 1))

    def confusion(self):
        """Returns the (C, C) int64 confusion matrix, rows truth, columns prediction."""
        count = len(self.labels.classes)
        low = ops.convert_to_numpy(self.low).astype(np.int64)
        high = ops.convert_to_numpy(self.high).astype(np.int64)
        return (low + (high << _CARRY_BITS)).reshape(count, count)

    def result(self):
        count = len(self.labels.classes)
        cells = ops.cast(self.high, "float32") * 2.0**_CARRY_BITS + ops.cast(self.low, "float32")
        return _scores(ops.reshape(cells, (count, count)), self.labels, ops)


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


def scores(confusion, labels):
    """Returns {"mean_iou", "pixel_accuracy", "drivable_iou", "iou/<class>"..., "precision/<class>",
    "recall/<class>", "f1/<class>"} as floats, 0..1.

    precision is the share of the pixels called c that are c, recall the share of c that was found,
    f1 their harmonic mean (Dice). A class in neither truth nor prediction has no IoU (None: JSON
    has no NaN) and is left out of the mean; likewise precision of a class never predicted and
    recall of one that never occurs.
    """
    values = _scores(confusion.astype(np.float64), labels, np)
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def _scores(confusion, labels, xp):
    """The formulas, once, for NumPy and keras.ops alike (xp)."""
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
