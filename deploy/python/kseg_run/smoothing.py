"""Smoothing over time: a class must be seen for long enough to replace another."""

import numpy as np


class Smoothing:
    """Class maps of frames that follow each other, (height, width) uint8 -> the same, smoothed.

    Each pixel keeps a score per class, an exponentially weighted average of how often it was seen:
    score = weight x score + (1 - weight) x (1 where seen, else 0). The class of the largest score
    wins, of equals the one just seen. weight, 0 < weight < 1: at 0.6 one odd frame changes nothing
    and two do; at 0.8 it takes four. What moves is late by as many frames.
    """

    def __init__(self, weight, class_ids):
        self.weight, self._class_ids, self._scores = weight, class_ids, None

    def __call__(self, ids):
        if self._scores is None:
            self._scores = {i: (ids == i).astype(np.float32) for i in self._class_ids}
            return ids
        best, out = np.zeros(ids.shape, np.float32), ids.copy()
        for class_id, scores in self._scores.items():
            seen = ids == class_id
            scores *= self.weight
            scores[seen] += 1 - self.weight
            best[seen] = scores[seen]
        for class_id, scores in self._scores.items():
            larger = scores > best
            out[larger] = class_id
            np.maximum(scores, best, out=best)
        return out

    def reset(self):
        """Forgets what was seen: the next frame does not follow the last one."""
        self._scores = None
