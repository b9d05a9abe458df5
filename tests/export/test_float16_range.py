"""Values beyond float16 are found on the CPU, which computes in float32."""

import keras
import numpy as np
import pytest
from keras import layers

from kseg.export import convert, float16_range


@pytest.fixture(scope="module")
def images():
    return [np.full((8, 12, 3), value, np.uint8) for value in (0, 255)]


def tflite(factor):
    """A file whose first layer is `factor` times as large, and the second as much smaller."""
    image = keras.Input((8, 12, 3), name="image")
    x = layers.Conv2D(4, 3, name="wide", padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Conv2D(3, 1, name="logits_conv")(x), name="unet")
    wide, logits = (model.get_layer(name) for name in ("wide", "logits_conv"))
    wide.set_weights([np.full((3, 3, 3, 4), 0.01 * factor), np.zeros(4)])
    logits.set_weights([np.ones((1, 1, 4, 3)) / factor, np.zeros(3)])
    return convert.to_tflite(model, "fp16")


@pytest.mark.parametrize(("factor", "fits"), [(1, True), (3000, False)])
def test_a_planted_overflow_is_found(factor, fits, images):
    # 27 weights of 0.01 over a white frame: 68.85.
    measured = float16_range.measure(tflite(factor), images)
    lines = float16_range.problems(measured)
    assert (lines == []) == fits
    if factor == 1:
        # Only the frame itself and the guard class are larger.
        assert measured["largest"] == pytest.approx(3e4)
    if factor == 3000:
        assert measured["largest"] == pytest.approx(3000 * 68.85, rel=1e-3)
        assert "wide" in lines[0] and "float16" in lines[0]
