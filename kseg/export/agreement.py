"""Does the .tflite answer as the Keras model does? Measured on labelled frames, on this CPU."""

import heapq
import time

import numpy as np

from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.runtime.litert import TFLiteModel

WORST_FRAMES = 5


class Tally:
    """What is counted over frames of one file: agreement with the model, and the confusion."""

    def __init__(self, num_classes):
        self.agree = self.pixels = self.frames = 0
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.worst = []
        self.latencies_ms = []

    def add(self, key, mask, want, got, latency_ms=None):
        same = int((got == want).sum())
        self.agree += same
        self.pixels += got.size
        self.frames += 1
        self.confusion += _confusion(mask, got, len(self.confusion))
        self.worst.append((same / got.size, key))
        self.worst = heapq.nsmallest(WORST_FRAMES, self.worst)
        if latency_ms is not None:
            self.latencies_ms.append(latency_ms)

    def report(self, labels):
        """Returns {"pixel_agreement" 0..1, "scores", "worst_frames", "latency_ms" or None}."""
        return {
            "pixel_agreement": self.agree / self.pixels,
            "scores": compute_scores(self.confusion, labels),
            "worst_frames": [{"key": key, "agreement": share} for share, key in self.worst],
            "latency_ms": float(np.median(self.latencies_ms)) if self.latencies_ms else None,
        }


def measure(model, files, frames, labels):
    """Runs the Keras model and .tflite files over Frames, the model once for all of them.

    files {name: bytes}. Returns {"frames": count, "keras": scores, "files": {name:
    Tally.report()}}; scores as in kseg.evaluation.scores.compute_scores,
    latency_ms the median on one thread.
    """
    classes = len(labels.classes)
    runners = {name: TFLiteModel(tflite, num_threads=1) for name, tflite in files.items()}
    tallies = {name: Tally(classes) for name in files}
    keras_tally = Tally(classes)
    for frame in frames:
        batch = frame.image[None].astype(np.float32)
        want = np.argmax(model.predict_on_batch(batch)[0], axis=-1)
        keras_tally.add(frame.key, frame.mask, want, want)
        for name, runner in runners.items():
            start = time.perf_counter()
            got = runner(frame.image)
            latency_ms = 1000 * (time.perf_counter() - start)
            tallies[name].add(frame.key, frame.mask, want, got, latency_ms)
    return {
        "frames": keras_tally.frames,
        "keras": keras_tally.report(labels)["scores"],
        "files": {name: tally.report(labels) for name, tally in tallies.items()},
    }


def _confusion(mask, got, num_classes):
    """An id that is no class (a delegate's mistake) counts as the next class: always wrong."""
    known = got < num_classes
    if not known.all():
        got = np.where(known, got, (mask.astype(int) + 1) % num_classes)
    return confusion_matrix(mask, got, num_classes)
