"""Temporal smoothing: a class must be seen for several frames before it replaces another."""

from collections.abc import Sequence

import numpy as np


class Smoothing:
    """Smooths the class maps, (height, width) uint8 ids, of consecutive frames.

    Each pixel keeps a score per class, the exponentially weighted average of how often the class
    was seen: score = weight x score + (1 - weight) x (1 where seen, else 0). The class with the
    highest score wins; of equal scores, the class just seen. weight lies between 0 and 1: at 0.6
    one deviating frame changes nothing and two do; at 0.8 it takes four. Whatever moves is delayed
    by as many frames.
    """

    def __init__(self, weight: float, class_ids: Sequence[int]):
        self.weight, self._class_ids = weight, class_ids
        self._scores: dict[int, np.ndarray] = {}

    def __call__(self, class_map: np.ndarray) -> np.ndarray:
        if not self._scores:
            self._scores = {i: (class_map == i).astype(np.float32) for i in self._class_ids}
            return class_map
        best, smoothed = np.zeros(class_map.shape, np.float32), class_map.copy()
        for class_id, scores in self._scores.items():
            seen = class_map == class_id
            scores *= self.weight
            scores[seen] += 1 - self.weight
            best[seen] = scores[seen]
        for class_id, scores in self._scores.items():
            larger = scores > best
            smoothed[larger] = class_id
            np.maximum(scores, best, out=best)
        return smoothed

    def reset(self) -> None:
        """Forgets all scores: the next frame does not continue the last one."""
        self._scores = {}
