import dataclasses

import keras
import tensorflow as tf

from kseg import checkpoints, data, tensorboard
from kseg.labels import BDD100K_DRIVABLE


def summaries(folder):
    """(tag, step, encoded picture) of every value in a folder of event files, in order."""
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                yield value.tag, event.step, value.tensor.string_val


def test_pictures_of_the_first_frames_every_so_many_epochs_and_at_the_end(run_folder, tmp_path):
    model, config, labels = checkpoints.load(run_folder)
    model.compile(loss="mse")
    frames = next(iter(data.labelled_frames(config, "val")))
    pictures = tensorboard.Pictures(frames, labels, str(tmp_path), every=2, epochs=3)
    pictures.set_model(model)
    for epoch in range(3):
        pictures.on_epoch_end(epoch)
    written = list(summaries(tmp_path))
    keys = [key.decode() for key in frames["key"].numpy()]
    assert [(tag, step) for tag, step, _ in written] == [(k, s) for s in (1, 2) for k in keys]
    # Width and height as text, then a PNG of image, truth and prediction side by side.
    width, height, png = written[0][2]
    assert (int(width), int(height)) == (3 * config.size[1], config.size[0])
    assert tf.io.decode_png(png).shape == (config.size[0], 3 * config.size[1], 3)


def test_a_training_has_twenty_rounds_of_pictures_at_most(config, tmp_path):
    for epochs, every in ((4, 1), (20, 1), (21, 2), (431, 22)):
        longer = dataclasses.replace(config, epochs=epochs)
        scalars, pictures = tensorboard.callbacks(longer, BDD100K_DRIVABLE, tmp_path)
        assert isinstance(scalars, keras.callbacks.TensorBoard) and pictures.every == every
        assert len(pictures.frames["key"]) == 4
