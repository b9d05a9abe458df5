"""RUN/tensorboard/: scalars of every epoch and images of validation frames, for TensorBoard.

keras.callbacks.TensorBoard and tf.summary.image cannot replace this: they need the package
`tensorboard` while training, and they raise when the disk is full, which would end the training.
Here files are written with tf.summary.write, and a file that cannot be written is reported once and
skipped. To view them: pip install tensorboard; tensorboard --logdir RUN.
"""

import math
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from kseg.config import Config
from kseg.data import pipeline
from kseg.labels import LabelSet
from kseg.visualize.overlay import side_by_side

Context = Callable[[], AbstractContextManager]

FRAMES = 4
MAX_IMAGE_EPOCHS = 20  # Images are written this often in a training at most: they take the space.

# Plugin name, and data class in SummaryMetadata.
_SCALARS, _IMAGES = ("scalars", 1), ("images", 3)


def callbacks(
    config: Config, labels: LabelSet, folder: Path, averaged: Context = nullcontext
) -> list[keras.callbacks.Callback]:
    """Returns the Keras callbacks that write into `folder`.

    averaged: a context in which the model has the weights that were validated.
    """
    frames = next(iter(pipeline.labelled_frames(config, "val").unbatch().batch(FRAMES).take(1)))
    every = math.ceil(config.epochs / MAX_IMAGE_EPOCHS)
    return [
        WriteScalars(folder),
        WriteImages(folder / "pictures", frames, labels, every, config.epochs, averaged),
    ]


class EventFile:
    """The event file of one folder, created with its first events."""

    def __init__(self, folder: Path):
        self.folder, self.failed = folder, False
        self.writer: Any = None

    def write(self, step: int, values: dict[str, Any], kind: tuple[str, int]) -> None:
        """Writes {tag: tensor}. kind: _SCALARS or _IMAGES.

        The first failure is reported; nothing is written from then on, because no reader finds what
        follows an incomplete record.
        """
        if self.failed:
            return
        try:
            before = self._size()
            self.writer = self.writer or tf.summary.create_file_writer(str(self.folder))
            with self.writer.as_default(step=step):
                for tag, value in values.items():
                    tf.summary.write(tag, value, metadata=_metadata(kind))
            self.writer.flush()
            # TensorFlow does not report every failed write, so compare the sizes.
            expected = sum(len(tf.io.serialize_tensor(v).numpy()) for v in values.values())
            self.failed = self._size() - before < expected
        except (tf.errors.OpError, OSError):
            self.failed = True
        if self.failed:
            existing = next(p for p in (self.folder, *self.folder.parents) if p.is_dir())
            print(
                f"warning: {self.folder}: cannot be written "
                f"({shutil.disk_usage(existing).free / 1e6:.1f} MB free); training continues "
                "without it",
                file=sys.stderr,
            )

    def _size(self):
        return sum(path.stat().st_size for path in self.folder.glob("events.*"))


class WriteScalars(keras.callbacks.Callback):
    """Writes loss, metrics and learning rate; training and validation share a plot."""

    def __init__(self, folder: Path):
        super().__init__()
        self.files = {name: EventFile(folder / name) for name in ("train", "validation")}

    def on_epoch_end(self, epoch, logs=None):
        training = {name: v for name, v in logs.items() if not name.startswith("val_")}
        training["learning_rate"] = float(self.model.optimizer.learning_rate)
        validation = {name[4:]: v for name, v in logs.items() if name.startswith("val_")}
        for name, values in (("train", training), ("validation", validation)):
            tensors = {tag: tf.constant(value, tf.float32) for tag, value in values.items()}
            self.files[name].write(epoch + 1, tensors, _SCALARS)


class WriteImages(keras.callbacks.Callback):
    """Writes image, ground truth and prediction of some frames every `every` epochs."""

    def __init__(
        self,
        folder: Path,
        frames: dict[str, Any],
        labels: LabelSet,
        every: int,
        epochs: int,
        averaged: Context = nullcontext,
    ):
        """frames: a batch of kseg.data.pipeline.labelled_frames; epochs: of the training."""
        super().__init__()
        self.averaged = averaged
        self.file, self.frames, self.labels = EventFile(folder), frames, labels
        self.every, self.epochs = every, epochs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return
        images = self.frames["image"].numpy()
        with self.averaged():
            logits = self.model.predict_on_batch(images)
        logits = logits[0] if isinstance(logits, list) else logits  # The second is auxiliary.
        predicted = np.argmax(logits, axis=-1).astype(np.uint8)
        masks = self.frames["mask"].numpy().astype(np.uint8)
        panels = {}
        for key, image, mask, class_map in zip(
            self.frames["key"].numpy(), images.astype(np.uint8), masks, predicted, strict=True
        ):
            panels[key.decode()] = _encode(side_by_side(image, mask, class_map, self.labels))
        self.file.write(epoch + 1, panels, _IMAGES)


def _encode(image):
    """(H, W, 3) uint8 RGB -> [width, height, PNG file], as TensorBoard's image plugin reads it."""
    height, width = image.shape[:2]
    png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return tf.constant([str(width).encode(), str(height).encode(), png])


def _metadata(kind):
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name, metadata.data_class = kind
    return metadata
