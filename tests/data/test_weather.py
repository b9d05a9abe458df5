import numpy as np
import pytest

from kseg.data import weather
from tests.conftest import scene

SIZE = (48, 81)
EFFECTS = (weather.fog, weather.night, weather.rain, weather.blur, weather.jpeg)


@pytest.fixture(scope="module")
def image():
    return scene(np.random.default_rng(0), SIZE)[0]


def spoiled(image, seed, share=1.0):
    return weather.weather(image, np.random.default_rng(seed), share)


def test_same_seed_same_weather_and_none_at_share_0(image):
    assert np.array_equal(spoiled(image, 1), spoiled(image, 1))
    assert not np.array_equal(spoiled(image, 1), spoiled(image, 2))
    for seed in range(10):
        assert np.array_equal(spoiled(image, seed, share=0.0), image)


def test_about_the_share_is_spoiled_and_stays_in_range(image):
    count = 0
    for seed in range(60):
        result = spoiled(image, seed, share=0.5)
        assert result.shape == (*SIZE, 3) and result.dtype == np.uint8
        count += not np.array_equal(result, image)
    assert 18 <= count <= 42


@pytest.mark.parametrize("effect", EFFECTS)
def test_more_is_worse_and_the_scene_stays_where_it_is(image, effect):
    little, much = (
        effect(image, amount, np.random.default_rng(1)).mean(-1) for amount in (0.0, 1.0)
    )

    def likeness(picture):
        return np.corrcoef(image.mean(-1).ravel(), picture.ravel())[0, 1]

    assert likeness(much) < likeness(little) < 1
    # Moved by some pixels, the picture would fit its original less well.
    for shift, axis in ((4, 0), (-4, 0), (4, 1), (-4, 1)):
        assert likeness(np.roll(little, shift, axis)) < likeness(little)


def test_night_is_darker_fog_is_flatter_and_thickest_above(image):
    rng = np.random.default_rng(1)
    assert weather.night(image, 0.5, rng).mean() < 0.6 * image.mean()
    foggy = weather.fog(image, 0.5, rng)
    assert foggy.std() < image.std()
    left = foggy.std(axis=(1, 2)) / np.maximum(image.std(axis=(1, 2)), 1e-3)
    assert left[2] < left[-2]


def test_a_flat_picture_stays_flat_under_blur():
    flat = np.full((*SIZE, 3), 100, np.uint8)
    assert (weather.blur(flat, 1.0, None) == 100).all()
