"""RUN/tensorboard/: scalars of every epoch and pictures of validation frames, for TensorBoard.

Written by tf.summary.write as TensorBoard's own writers do, which need the package `tensorboard`
(keras.callbacks.TensorBoard too); here it is needed only to look: tensorboard --logdir RUN.
What cannot be written is said once and left out: no training should end for its plots.
"""

import math
import shutil
import sys

import cv2
import keras
import numpy as np
import tensorflow as tf

from kseg.data import pipeline
from kseg.training.ema import averaged
from kseg.visualize.overlay import side_by_side

FRAMES = 4
ROUNDS = 20  # Of pictures in a whole training: they are what takes room.
_SCALAR, _PICTURES = ("scalars", 1), ("images", 3)  # Plugin, and SummaryMetadata's data class.


def callbacks(config, labels, folder):
    """Returns the Keras callbacks that write into `folder`."""
    frames = next(iter(pipeline.labelled_frames(config, "val").unbatch().batch(FRAMES).take(1)))
    every = math.ceil(config.epochs / ROUNDS)
    return [Scalars(folder), Pictures(frames, labels, folder / "pictures", every, config.epochs)]


class Events:
    """The event file of one folder, made with its first events."""

    def __init__(self, folder):
        self.folder, self.writer, self.given_up = folder, None, False

    def write(self, step, values, kind):
        """Writes {tag: tensor} and says so, once, when that fails; from then on it writes nothing.

        kind: _SCALAR or _PICTURES. What follows a record cut short no reader would find.
        """
        if self.given_up:
            return
        try:
            before = self._size()
            self.writer = self.writer or tf.summary.create_file_writer(str(self.folder))
            with self.writer.as_default(step=step):
                for tag, value in values.items():
                    tf.summary.write(tag, value, metadata=_kind(kind))
            self.writer.flush()
            # TensorFlow does not tell of every failed write, so what arrived is counted.
            least = sum(len(tf.io.serialize_tensor(v).numpy()) for v in values.values())
            self.given_up = self._size() - before < least
        except (tf.errors.OpError, OSError):
            self.given_up = True
        if self.given_up:
            free = shutil.disk_usage(_existing(self.folder)).free / 1e6
            print(
                f"warning: {self.folder}: cannot be written ({free:.1f} MB free); the training "
                "goes on without it",
                file=sys.stderr,
            )

    def _size(self):
        return sum(path.stat().st_size for path in self.folder.glob("events.*"))


class Scalars(keras.callbacks.Callback):
    """Writes loss, metrics and learning rate, training and validation as two curves of one plot."""

    def __init__(self, folder):
        super().__init__()
        self.events = {name: Events(folder / name) for name in ("train", "validation")}

    def on_epoch_end(self, epoch, logs=None):
        training = {name: v for name, v in logs.items() if not name.startswith("val_")}
        training["learning_rate"] = float(self.model.optimizer.learning_rate)
        validation = {name[4:]: v for name, v in logs.items() if name.startswith("val_")}
        for name, values in (("train", training), ("validation", validation)):
            tensors = {tag: tf.constant(value, tf.float32) for tag, value in values.items()}
            self.events[name].write(epoch + 1, tensors, _SCALAR)


class Pictures(keras.callbacks.Callback):
    """Writes image, truth and prediction of the first validation frames, every so many epochs."""

    def __init__(self, frames, labels, folder, every, epochs):
        super().__init__()
        self.frames, self.labels = frames, labels
        self.every, self.epochs = every, epochs
        self.events = Events(folder)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return
        images = self.frames["image"].numpy()
        with averaged(self.model):
            logits = self.model.predict_on_batch(images)
        logits = logits[0] if isinstance(logits, list) else logits  # The second is auxiliary.
        predicted = np.argmax(logits, axis=-1).astype(np.uint8)
        masks, keys = self.frames["mask"].numpy().astype(np.uint8), self.frames["key"].numpy()
        pictures = {}
        for i, key in enumerate(keys):
            image = images[i].astype(np.uint8)
            picture = side_by_side(image, masks[i], predicted[i], self.labels)
            pictures[key.decode()] = _encoded(picture)
        self.events.write(epoch + 1, pictures, _PICTURES)


def _existing(folder):
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _encoded(picture):
    """(H, W, 3) uint8 RGB -> width, height and PNG file, as TensorBoard's image plugin reads it."""
    height, width = picture.shape[:2]
    png = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    return tf.constant([str(width).encode(), str(height).encode(), png])


def _kind(plugin):
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name, metadata.data_class = plugin
    return metadata
