"""Guard classes: same class map, and no class for a pixel with a logit that is not finite."""

import keras
import numpy as np
import pytest
from keras import layers

from kseg.export import convert, linter
from kseg.export.profiles import PROFILES
from kseg.models.guard_classes import add_guard_classes
from kseg.runtime.litert import TFLiteModel

SIZE = (6, 10)


def small_model(num_classes, bias):
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Conv2D(num_classes, 1, name="logits_conv")(image)
    model = keras.Model(image, layers.Activation("linear", name="logits")(x), name="unet")
    keras.utils.set_random_seed(1)
    kernel = np.random.default_rng(0).normal(size=(1, 1, 3, num_classes))
    model.get_layer("logits_conv").set_weights([kernel, bias + np.zeros(num_classes)])
    return model


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize(("num_classes", "channels"), [(2, 4), (3, 4), (4, 8), (11, 12), (19, 20)])
def test_the_reversed_argmax_is_the_class_map(num_classes, channels, image):
    # All logits are negative, where a padding channel of zeros would win.
    model = small_model(num_classes, bias=-2000)
    batch = image[None].astype("float32")
    expected = model.predict_on_batch(batch)[0]
    guarded = add_guard_classes(model).predict_on_batch(batch)[0]
    assert guarded.shape[-1] == channels
    np.testing.assert_array_equal(guarded[..., ::-1][..., :num_classes], expected)
    class_map = channels - 1 - guarded.argmax(-1)
    np.testing.assert_array_equal(class_map, expected.argmax(-1))
    assert len(np.unique(class_map)) > 1


HUGE = 3e38  # Times a pixel of 2 or more: infinity, which LiteRT's reference kernels clamp.


@pytest.mark.parametrize(
    ("scale", "bias", "ids"),
    [
        ([0, 0, 0], [0, 0, 0], {0, 2}),
        ([0, 0, 0], [np.nan] * 3, {3}),
        ([0, 0, 0], [np.nan, 0, 0], {3}),
        ([HUGE, 0, 0], [0, 0, 0], {3}),
        ([0, HUGE, -HUGE], [0, 0, 0], {3}),
        ([-HUGE] * 3, [0, 0, 0], {3}),
    ],
)
def test_a_file_predicts_no_class_where_a_logit_is_not_finite(scale, bias, ids, image):
    model = small_model(3, np.array(bias))
    kernel, bias = model.get_layer("logits_conv").get_weights()
    model.get_layer("logits_conv").set_weights([kernel + np.array(scale, np.float32), bias])
    tflite = convert.to_tflite(model, "fp32")
    assert set(np.unique(TFLiteModel(tflite)(np.maximum(image, 2)))) == ids
    if -HUGE not in scale or scale == [-HUGE] * 3:  # There infinity - infinity is 0.
        reference = TFLiteModel(tflite, reference_kernels=True)
        assert set(np.unique(reference(np.maximum(image, 2)))) == ids
    assert "PADV2" not in linter.operators(tflite)
    assert linter.problems(tflite, PROFILES["gpu"]) == []
