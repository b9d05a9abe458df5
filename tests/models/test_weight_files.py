"""Loading weights: what is refused, and that warnings of other libraries are not a reason."""

import warnings

import h5py
import keras
import numpy as np
import pytest

from kseg.errors import InputError
from kseg.models.pretrained import weight_files


class Nested(keras.layers.Layer):
    """A layer whose sublayers are in a list of lists, which old Keras did not save."""

    def __init__(self):
        super().__init__()
        self.stages = [[keras.layers.Dense(3)], [keras.layers.Dense(2)]]

    def build(self, shape):
        self.stages[0][0].build(shape)
        self.stages[1][0].build((None, 3))

    def call(self, x):
        return self.stages[1][0](self.stages[0][0](x))


def nested_model():
    image = keras.Input((4,))
    return keras.Model(image, Nested()(image))


@pytest.fixture
def saved(tmp_path):
    """(model, path of its weights)."""
    model = nested_model()
    model.save_weights(tmp_path / "a.weights.h5")
    return model, tmp_path / "a.weights.h5"


def test_weights_load_whatever_a_library_warns(saved, monkeypatch):
    model, path = saved
    read = h5py.File.__getitem__

    def warn_and_read(self, name):
        warnings.warn("this will be removed in h5py 9", UserWarning, stacklevel=2)
        return read(self, name)

    monkeypatch.setattr(h5py.File, "__getitem__", warn_and_read)
    loaded = nested_model()
    with pytest.warns(UserWarning, match="h5py 9"):
        weight_files.load(loaded, path, "these weights")
    for expected, weight in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_layer_that_keras_only_warns_about_is_refused(saved):
    _, path = saved
    with h5py.File(path, "r+") as file:
        stages = file["layers/nested/stages"]
        for name in list(stages):
            del stages[name]
    with pytest.raises(InputError, match=r"a\.weights\.h5: does not hold these weights"):
        weight_files.load(nested_model(), path, "these weights")
