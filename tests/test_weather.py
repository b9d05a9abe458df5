import numpy as np
import pytest
import tensorflow as tf

from kseg import weather
from tests.conftest import scene

SIZE = (48, 81)
EFFECTS = (weather.fog, weather.night, weather.rain, weather.blur, weather.jpeg)


@pytest.fixture(scope="module")
def image():
    return tf.constant(scene(np.random.default_rng(0), SIZE)[0].astype(np.float32))


def spoiled(image, seed, share=1.0):
    return weather.weather(image, tf.constant([seed, 0], tf.int64), share).numpy()


def test_same_seed_same_weather_and_none_at_share_0(image):
    assert np.array_equal(spoiled(image, 1), spoiled(image, 1))
    assert not np.array_equal(spoiled(image, 1), spoiled(image, 2))
    for seed in range(10):
        assert np.array_equal(spoiled(image, seed, share=0.0), image.numpy())


def test_about_the_share_is_spoiled_and_stays_in_range(image):
    count = 0
    for seed in range(60):
        result = spoiled(image, seed, share=0.5)
        assert result.shape == (*SIZE, 3) and result.dtype == np.float32
        assert result.min() >= 0 and result.max() <= 255
        count += not np.array_equal(result, image.numpy())
    assert 18 <= count <= 42


@pytest.mark.parametrize("effect", EFFECTS)
def test_more_is_worse_and_the_scene_stays_where_it_is(image, effect):
    seed = tf.constant([0, 1], tf.int64)
    little, much = (effect(image, amount, seed).numpy().mean(-1) for amount in (0.0, 1.0))

    def likeness(picture):
        return np.corrcoef(image.numpy().mean(-1).ravel(), picture.ravel())[0, 1]

    assert likeness(much) < likeness(little) < 1
    # Moved by some pixels, the picture would fit its original less well.
    for shift, axis in ((4, 0), (-4, 0), (4, 1), (-4, 1)):
        assert likeness(np.roll(little, shift, axis)) < likeness(little)


def test_night_is_darker_fog_is_flatter_and_thickest_above(image):
    seed, original = tf.constant([0, 1], tf.int64), image.numpy()
    assert weather.night(image, 0.5, seed).numpy().mean() < 0.6 * original.mean()
    foggy = weather.fog(image, 0.5, seed).numpy()
    assert foggy.std() < original.std()
    left = foggy.std(axis=(1, 2)) / np.maximum(original.std(axis=(1, 2)), 1e-3)
    assert left[2] < left[-2]


def test_a_flat_picture_stays_flat_under_blur():
    flat = tf.fill((*SIZE, 3), 100.0)
    np.testing.assert_allclose(weather.blur(flat, 1.0, None).numpy(), 100.0, rtol=1e-5)
