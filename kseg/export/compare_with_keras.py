"""Compares .tflite and .onnx files with their Keras model on labelled frames, on this CPU."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kseg.evaluation.agreement import AgreementCounter
from kseg.export.labelled_frames import Frame
from kseg.labels import LabelSet
from kseg.runtime.exported_file import load


def compare_with_keras(
    model: keras.Model,
    files: Mapping[Any, bytes],
    frames: Iterable[Frame],
    labels: LabelSet,
) -> dict[str, Any]:
    """Runs the Keras model and its files on each frame; the model once for all files.

    Returns {"frames": count, "keras": scores of the model, "files": {key of `files`:
    AgreementCounter.report()}}. latency_ms is measured on one thread.
    """
    num_classes = len(labels.classes)
    runners = {key: load(data, num_threads=1) for key, data in files.items()}
    counters = {key: AgreementCounter(num_classes) for key in files}
    keras_counter = AgreementCounter(num_classes)
    for frame in frames:
        batch = frame.image[None].astype(np.float32)
        expected = np.argmax(model.predict_on_batch(batch)[0], axis=-1)
        keras_counter.add(frame.key, frame.mask, expected, expected)
        for key, runner in runners.items():
            start = time.perf_counter()
            class_map = runner(frame.image)
            latency_ms = 1000 * (time.perf_counter() - start)
            counters[key].add(frame.key, frame.mask, expected, class_map, latency_ms)
    return {
        "frames": keras_counter.frames,
        "keras": keras_counter.report(labels)["scores"],
        "files": {key: counter.report(labels) for key, counter in counters.items()},
    }
