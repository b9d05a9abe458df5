"""IoU and related scores as a Keras metric, from exact pixel counts."""

import keras
import numpy as np
from keras import ops

from kseg.evaluation.scores import scores_from
from kseg.labels import IGNORE_ID, LabelSet

_LOW_BITS = 24


class SegmentationMetrics(keras.metrics.Metric):
    """The scores of kseg.evaluation.scores, computed in one pass over the pixels.

    update_state: y_true (B, H, W) integer ids, y_pred (B, H, W, C) logits. Ignored pixels do not
    count. result() is a dict of scalars; a class that occurs in neither ground truth nor prediction
    is left out of the mean. Once the ground truth had an id that is neither a class nor ignored,
    all scores are NaN.

    unions: number of ids behind the classes that stand for a union of classes. Their pixels are
    left out: scoring any class of the union as right would hide the errors between these classes.

    Each count is stored as two int32, low + high * 2**24, because float32 is exact only up to 2**24
    and JAX has no int64 by default. Counts are exact up to 2**55 pixels on every backend.
    """

    def __init__(
        self,
        labels: LabelSet,
        ignore_class: int = IGNORE_ID,
        *,
        unions: int = 0,
        name: str = "segmentation",
    ):
        super().__init__(name=name)
        self.labels, self.ignore_class, self.unions = labels, ignore_class, unions
        self.cells = len(labels.classes) ** 2
        size = (self.cells + 1,)  # The confusion matrix, and one for ids out of range.
        self.low = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="low")
        self.high = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="high")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported; mark pixels with the ignore id")
        count = len(self.labels.classes)
        truth = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        predicted = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1,))
        known = ops.logical_and(truth >= 0, truth < count)
        cell = ops.where(known, truth * count + predicted, self.cells)
        # Ignored pixels go to one more cell, which is cut off.
        of_union = ops.logical_and(truth >= count, truth < count + self.unions)
        ignored = ops.logical_or(truth == self.ignore_class, of_union)
        cell = ops.where(ignored, self.cells + 1, cell)
        # Not ops.bincount: its length is not static under JAX's jit.
        counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=self.cells + 2)
        low = self.low + counts[:-1]
        self.high.assign(self.high + ops.right_shift(low, _LOW_BITS))
        self.low.assign(ops.bitwise_and(low, 2**_LOW_BITS - 1))

    def confusion(self) -> np.ndarray:
        """Returns the (C, C) int64 confusion matrix, rows ground truth, columns prediction.

        Raises ValueError when the ground truth had an id that is neither a class nor ignored.
        """
        high = ops.convert_to_numpy(self.high).astype(np.int64)
        counts = ops.convert_to_numpy(self.low).astype(np.int64) + (high << _LOW_BITS)
        classes = len(self.labels.classes)
        if counts[-1]:
            raise ValueError(
                f"{counts[-1]} pixels of the ground truth have ids outside 0..{classes - 1}"
            )
        return counts[:-1].reshape(classes, classes)

    def result(self):
        count = len(self.labels.classes)
        low, high = ops.cast(self.low, "float32"), ops.cast(self.high, "float32")
        counts = high * 2.0**_LOW_BITS + low
        values = scores_from(ops.reshape(counts[:-1], (count, count)), self.labels, ops)
        return {name: ops.where(counts[-1] > 0, np.nan, value) for name, value in values.items()}
