"""A run as a function: frames of any size -> class maps of the same size."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kseg import preprocess, trained_model
from kseg.config import Config
from kseg.labels import LabelSet

MAX_CONFIDENCE = 254  # 255 marks pixels that the model did not see, as in class maps.


class Prediction(NamedTuple):
    """The prediction of one run for one frame.

    name: of the run. class_map (h, w) uint8 ids. confidence (h, w) uint8: the largest softmax
    probability, 0..MAX_CONFIDENCE for 0..1; None if not requested. Both are IGNORE_ID where the
    fit `crop` removed pixels.
    """

    name: str
    labels: LabelSet
    class_map: np.ndarray
    confidence: np.ndarray | None


# Takes a list of frames (h, w, 3) uint8 RGB.
Predictor = Callable[[list[np.ndarray]], list[Prediction]]


def load_predictor(
    run: str | Path, name: str | None = None, *, confidence: bool = False
) -> Predictor:
    """Returns the Predictor of a run folder.

    name: of the run in its Predictions (default: that of its folder); confidence: predict it too.
    Raises InputError.
    """
    model, config, labels = trained_model.load(run)
    return make_predictor(model, config, labels, name or Path(run).name, confidence=confidence)


def make_predictor(
    model: keras.Model, config: Config, labels: LabelSet, name: str, *, confidence: bool = False
) -> Predictor:
    """Returns the Predictor of a model."""
    # Part of the graph: on the host, argmax over 19 classes takes longer than the model.
    outputs = {"class_map": ops.cast(ops.argmax(model.output, axis=-1), "uint8")}
    if confidence:
        probability = ops.max(ops.softmax(ops.cast(model.output, "float32")), axis=-1)
        outputs["confidence"] = ops.cast(ops.round(MAX_CONFIDENCE * probability), "uint8")
    graph = keras.Model(model.inputs, outputs)

    def predict(frames):
        images = [preprocess.fit_image(frame, config.size, config.fit) for frame in frames]
        batch = graph.predict_on_batch(np.stack(images).astype(np.float32))
        predictions = []
        for i, frame in enumerate(frames):
            maps = {
                key: preprocess.unfit_class_map(value[i], frame.shape[:2], config.fit)
                for key, value in batch.items()
            }
            predictions.append(Prediction(name, labels, maps["class_map"], maps.get("confidence")))
        return predictions

    return predict


def batched(frames: Iterable, size: int) -> Iterator[list]:
    """Yields lists of `size` items; the last may be shorter."""
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
