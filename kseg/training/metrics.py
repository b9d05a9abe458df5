"""IoU and its kin from exact pixel counts, on logits or class maps."""

import keras
import numpy as np
from keras import ops

from kseg.evaluation import boundary
from kseg.evaluation.scores import scores_from
from kseg.labels import IGNORE_ID

_CARRY_BITS = 24


class _ExactCounts(keras.metrics.Metric):
    """A metric whose state is a vector of pixel counts.

    They are kept as two int32 parts, low + high * 2**24, because float32 is exact only to 2**24 and
    JAX has no int64 unless asked: exact to 2**55 pixels on every backend.
    """

    def __init__(self, size, name):
        super().__init__(name=name)
        self.low = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="low")
        self.high = self.add_weight(shape=size, dtype="int32", initializer="zeros", name="high")

    def add(self, counts):
        """counts: int32 of the vector's size, each below 2**30."""
        low = self.low + counts
        self.high.assign(self.high + ops.right_shift(low, _CARRY_BITS))
        self.low.assign(ops.bitwise_and(low, 2**_CARRY_BITS - 1))

    def counts(self):
        """Returns the counts so far as a NumPy int64 array."""
        high = ops.convert_to_numpy(self.high).astype(np.int64)
        return ops.convert_to_numpy(self.low).astype(np.int64) + (high << _CARRY_BITS)

    def rounded(self):
        """Returns the counts so far as a float32 tensor."""
        return ops.cast(self.high, "float32") * 2.0**_CARRY_BITS + ops.cast(self.low, "float32")


class SegmentationMetrics(_ExactCounts):
    """The scores of kseg.evaluation.scores in one pass over the pixels.

    update_state: y_true (B, H, W) integer ids, y_pred (B, H, W, C) logits. Ignored pixels do not
    count. result() is a dict of scalars; a class that is in neither truth nor prediction is left
    out of the mean. Once a truth had an id that is neither a class nor ignored all scores are NaN.
    """

    def __init__(self, labels, ignore_class=IGNORE_ID, name="segmentation"):
        self.cells = len(labels.classes) ** 2
        super().__init__((self.cells + 1,), name)  # The last: truths with an id out of range.
        self.labels, self.ignore_class = labels, ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported; mark pixels with the ignore id")
        count = len(self.labels.classes)
        truth = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        predicted = ops.reshape(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), (-1,))
        known = ops.logical_and(truth >= 0, truth < count)
        cell = ops.where(known, truth * count + predicted, self.cells)
        # Ignored pixels go to one bin past the others, which is cut off.
        cell = ops.where(truth == self.ignore_class, self.cells + 1, cell)
        # Not ops.bincount: its length is not static under JAX's jit.
        counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=self.cells + 2)
        self.add(counts[:-1])

    def confusion(self):
        """Returns the (C, C) int64 confusion matrix, rows truth, columns prediction.

        Raises ValueError once a truth had an id that is neither a class nor ignored.
        """
        counts, classes = self.counts(), len(self.labels.classes)
        if counts[-1]:
            raise ValueError(f"{counts[-1]} pixels of the truth have ids beyond 0..{classes - 1}")
        return counts[:-1].reshape(classes, classes)

    def result(self):
        count, counts = len(self.labels.classes), self.rounded()
        values = scores_from(ops.reshape(counts[:-1], (count, count)), self.labels, ops)
        return {name: ops.where(counts[-1] > 0, np.nan, value) for name, value in values.items()}


class BoundaryIoU(_ExactCounts):
    """Boundary IoU, the numbers of kseg.evaluation.boundary, which has the definition.

    update_state: y_true (B, H, W) integer ids, y_pred (B, H, W, C) logits. result() is a dict of
    scalars, NaN for a class that is nowhere, which is left out of the mean.
    """

    def __init__(self, labels, ignore_class=IGNORE_ID, name="boundary"):
        super().__init__((2 * len(labels.classes),), name)
        self.labels, self.ignore_class = labels, ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported; mark pixels with the ignore id")
        count = len(self.labels.classes)
        truth = ops.cast(y_true, "int32")
        predicted = ops.where(
            truth == self.ignore_class, count, ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        )
        width = boundary.width(y_pred.shape[1:3])
        ours, theirs = (
            _strips(ops.expand_dims(ids, -1) == ops.arange(count), width)
            for ids in (predicted, truth)
        )
        parts = [ops.logical_and(ours, theirs), ops.logical_or(ours, theirs)]
        axes = (0, 1, 2)
        self.add(ops.concatenate([ops.sum(ops.cast(p, "int32"), axes) for p in parts]))

    def result(self):
        both, either = ops.split(self.rounded(), 2)
        values = ops.where(either > 0, both / ops.maximum(either, 1.0), float("nan"))
        present = ops.sum(ops.cast(either > 0, "float32"))
        mean = ops.sum(ops.where(either > 0, values, 0.0)) / ops.maximum(present, 1.0)
        by_class = {f"boundary_iou/{name}": values[i] for i, name in enumerate(self.labels.names)}
        return {"mean_boundary_iou": mean, **by_class}


def _strips(regions, width):
    """(B, H, W, C) bool -> the same: pixels of each region up to `width` from its border."""
    outside = ops.cast(ops.logical_not(regions), "float32")
    # What lies beyond the image is outside too. By rows and by columns: a square is both.
    outside = ops.pad(outside, [[0, 0], [width, width], [width, width], [0, 0]], constant_values=1)
    for pool in ((2 * width + 1, 1), (1, 2 * width + 1)):
        outside = ops.max_pool(outside, pool, 1, "valid", "channels_last")
    return ops.logical_and(regions, outside > 0)
