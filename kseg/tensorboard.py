"""RUN/tensorboard/: scalars of every epoch and pictures of validation frames, for TensorBoard.

Writing needs nothing but TensorFlow; `pip install tensorboard` shows it.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from kseg import data
from kseg.averages import averaged
from kseg.overlay import side_by_side

FRAMES = 4
PICTURES = 20  # Rounds of pictures in a whole training: they are what takes room.


def callbacks(config, labels, folder):
    """Returns the Keras callbacks that write into `folder`."""
    scalars = keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=0)
    frames = next(iter(data.labelled_frames(config, "val").unbatch().batch(FRAMES).take(1)))
    every = math.ceil(config.epochs / PICTURES)
    return [scalars, Pictures(frames, labels, str(folder / "pictures"), every, config.epochs)]


class Pictures(keras.callbacks.Callback):
    """Writes image, truth and prediction of the first validation frames, every so many epochs."""

    def __init__(self, frames, labels, folder, every, epochs):
        super().__init__()
        self.frames, self.labels = frames, labels
        self.every, self.epochs = every, epochs
        self.writer = tf.summary.create_file_writer(folder)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return
        images = self.frames["image"].numpy()
        with averaged(self.model):
            logits = self.model.predict_on_batch(images)
        logits = logits[0] if isinstance(logits, list) else logits  # The second is auxiliary.
        predicted = np.argmax(logits, axis=-1).astype(np.uint8)
        masks, keys = self.frames["mask"].numpy().astype(np.uint8), self.frames["key"].numpy()
        with self.writer.as_default():
            for i, key in enumerate(keys):
                picture = side_by_side(
                    images[i].astype(np.uint8), masks[i], predicted[i], self.labels
                )
                tf.summary.image(key.decode(), picture[None], step=epoch)
        self.writer.flush()
