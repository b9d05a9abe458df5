"""A run as a function: frames of any size -> class maps of their own size."""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kseg import preprocess, trained_model
from kseg.labels import LabelSet

SURE = 254  # 255 marks what was not seen, as in class maps.


class Prediction(NamedTuple):
    """What one run says of one frame.

    class_map (h, w) uint8 ids. confidence (h, w) uint8, or None where it was not asked for: the
    largest softmax probability, 0..SURE for 0..1. Both IGNORE_ID where `crop` cut the frame.
    """

    name: str
    labels: LabelSet
    class_map: np.ndarray
    confidence: np.ndarray | None


def load(run, name=None, *, confidence=False):
    """Returns a function (list of (h, w, 3) uint8 RGB frames) -> list of Prediction.

    name: what the run is called in answers, its folder's name by default. Raises InputError.
    """
    model, config, labels = trained_model.load(run)
    return segmenter(model, config, labels, name or Path(run).name, confidence=confidence)


def segmenter(model, config, labels, name, *, confidence=False):
    """`load` of a model that is there already."""
    # In the graph: on the host, argmax over 19 classes takes longer than the model.
    outputs = {"class_map": ops.cast(ops.argmax(model.output, axis=-1), "uint8")}
    if confidence:
        sure = ops.max(ops.softmax(ops.cast(model.output, "float32")), axis=-1)
        outputs["confidence"] = ops.cast(ops.round(SURE * sure), "uint8")
    graph = keras.Model(model.inputs, outputs)

    def segment(frames):
        images = [preprocess.fit_image(frame, config.size, config.fit) for frame in frames]
        answers = graph.predict_on_batch(np.stack(images).astype(np.float32))
        told = []
        for i, frame in enumerate(frames):
            maps = {
                key: preprocess.unfit_class_map(value[i], frame.shape[:2], config.fit)
                for key, value in answers.items()
            }
            told.append(Prediction(name, labels, maps["class_map"], maps.get("confidence")))
        return told

    return segment


def batched(frames, size):
    """Yields lists of `size` frames; the last may hold fewer."""
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
