"""Agreement of one set of predictions with another, counted over labelled frames."""

import heapq
from typing import Any

import numpy as np

from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.labels import IGNORE_ID, LabelSet

WORST_FRAMES = 5


class AgreementCounter:
    """Counts, frame by frame, how often predictions equal reference predictions, and their scores.

    The reference is the Keras model for a .tflite on the CPU, the CPU for a .tflite on the GPU.
    Pixels whose mask is IGNORE_ID count nowhere: letterbox bars, on which any two models agree, are
    among them.
    """

    def __init__(self, num_classes: int) -> None:
        self.frames = 0
        self._equal = self._pixels = 0
        self._confusion = np.zeros((num_classes, num_classes), np.int64)
        self._worst: list[tuple[float, str]] = []  # (agreement, key), at most WORST_FRAMES
        self._latencies_ms: list[float] = []

    def add(
        self,
        key: str,
        mask: np.ndarray,
        reference: np.ndarray,
        prediction: np.ndarray,
        latency_ms: float | None = None,
    ) -> None:
        """Counts one frame. mask, reference and prediction are (H, W) class ids."""
        counted = mask != IGNORE_ID
        pixels, equal = int(counted.sum()), int((counted & (prediction == reference)).sum())
        self.frames += 1
        self._equal += equal
        self._pixels += pixels
        self._confusion += _confusion(mask, prediction, len(self._confusion))
        if pixels:
            self._worst.append((equal / pixels, key))
            self._worst = heapq.nsmallest(WORST_FRAMES, self._worst)
        if latency_ms is not None:
            self._latencies_ms.append(latency_ms)

    def report(self, labels: LabelSet) -> dict[str, Any]:
        """Returns {"pixel_agreement" 0..1, "scores", "worst_frames", "latency_ms" or None}.

        pixel_agreement: None where every pixel is ignored; scores: as
        kseg.evaluation.scores.compute_scores; worst_frames: [{"key", "agreement"}], the worst
        first; latency_ms: the median.
        """
        return {
            "pixel_agreement": self._equal / self._pixels if self._pixels else None,
            "scores": compute_scores(self._confusion, labels),
            "worst_frames": [{"key": key, "agreement": share} for share, key in self._worst],
            "latency_ms": float(np.median(self._latencies_ms)) if self._latencies_ms else None,
        }


def _confusion(mask: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """The confusion matrix. A predicted id that is no class (a delegate's bug) counts as wrong.

    It becomes the class after the true one.
    """
    known = prediction < num_classes
    if not known.all():
        prediction = np.where(known, prediction, (mask.astype(int) + 1) % num_classes)
    return confusion_matrix(mask, prediction, num_classes)
