import dataclasses

import keras
import pytest
import tensorflow as tf

from kseg import trained_model
from kseg.data import pipeline
from kseg.labels import BDD100K_DRIVABLE
from kseg.training import tensorboard
from tests.conftest import files_of_at_most


def summaries(folder):
    """(tag, step, TensorProto) of every value in a folder of event files, in order."""
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                yield value.tag, event.step, value.tensor


def test_images_are_written_every_few_epochs_and_at_the_end(trained_run, tmp_path):
    model, config, labels = trained_model.load(trained_run)
    model.compile(loss="mse")
    frames = next(iter(pipeline.labelled_frames(config, "val")))
    images = tensorboard.WriteImages(tmp_path, frames, labels, every=2, epochs=3)
    images.set_model(model)
    for epoch in range(3):
        images.on_epoch_end(epoch)
    written = list(summaries(tmp_path))
    keys = [key.decode() for key in frames["key"].numpy()]
    assert [(tag, step) for tag, step, _ in written] == [(k, s) for s in (2, 3) for k in keys]
    # Width and height as text, then a PNG of image, ground truth and prediction side by side.
    width, height, png = written[0][2].string_val
    assert (int(width), int(height)) == (3 * config.size[1], config.size[0])
    assert tf.io.decode_png(png).shape == (config.size[0], 3 * config.size[1], 3)


def test_training_and_validation_share_a_plot(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), loss="mse")
    scalars = tensorboard.WriteScalars(tmp_path)
    scalars.set_model(model)
    scalars.on_epoch_end(0, {"loss": 2.0, "val_loss": 3.0, "val_mean_iou": 0.5})

    def written(name):
        events = summaries(tmp_path / name)
        return {tag: (step, tf.make_ndarray(value).item()) for tag, step, value in events}

    assert written("train") == {"loss": (1, 2.0), "learning_rate": (1, 0.25)}
    assert written("validation") == {"loss": (1, 3.0), "mean_iou": (1, 0.5)}


def test_images_are_written_twenty_times_at_most(config, tmp_path):
    for epochs, every in ((4, 1), (20, 1), (21, 2), (431, 22)):
        longer = dataclasses.replace(config, epochs=epochs)
        _, images = tensorboard.callbacks(longer, BDD100K_DRIVABLE, tmp_path)
        assert images.every == every
        assert len(images.frames["key"]) == 4


@pytest.mark.parametrize("value", [1.0, b"x" * 200_000], ids=["scalar", "image"])
def test_a_full_disk_is_reported_once_and_training_continues(value, tmp_path, capsys):
    file = tensorboard.EventFile(tmp_path / "train")

    def write(step):
        file.write(step, {"loss": tf.constant(value)}, tensorboard._SCALARS)

    write(1)
    assert capsys.readouterr().err == ""
    # The second is truncated, which TensorFlow raises for small values and hides for large ones.
    size = next((tmp_path / "train").iterdir()).stat().st_size
    with files_of_at_most(size + 5):
        write(2)
        assert f"warning: {tmp_path / 'train'}: cannot be written" in capsys.readouterr().err
        write(3)
    write(4)
    assert capsys.readouterr().err == ""
    assert next((tmp_path / "train").iterdir()).stat().st_size == size + 5


def test_a_folder_that_cannot_be_created_is_reported_and_training_continues(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file")
    scalars = tensorboard.WriteScalars(tmp_path / "tensorboard")
    scalars.files["train"].write(1, {"loss": tf.constant(1.0)}, tensorboard._SCALARS)
    assert capsys.readouterr().err.count("cannot be written") == 1
