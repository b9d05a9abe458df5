import numpy as np
import pytest

from kseg.data import weather
from tests.conftest import scene

SIZE = (48, 81)
EFFECTS = (weather.fog, weather.night, weather.rain, weather.blur, weather.jpeg)


@pytest.fixture(scope="module")
def image():
    return scene(np.random.default_rng(0), SIZE)[0]


def with_weather(image, seed, share=1.0):
    return weather.weather(image, np.random.default_rng(seed), share)


def test_the_seed_decides_the_weather_and_share_0_means_none(image):
    assert np.array_equal(with_weather(image, 1), with_weather(image, 1))
    assert not np.array_equal(with_weather(image, 1), with_weather(image, 2))
    for seed in range(10):
        assert np.array_equal(with_weather(image, seed, share=0.0), image)


def test_about_the_given_share_of_images_changes(image):
    count = 0
    for seed in range(60):
        result = with_weather(image, seed, share=0.5)
        assert result.shape == (*SIZE, 3) and result.dtype == np.uint8
        count += not np.array_equal(result, image)
    assert 18 <= count <= 42


@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_grow_with_their_amount_and_move_nothing(image, effect):
    little, much = (
        effect(image, amount, np.random.default_rng(1)).mean(-1) for amount in (0.0, 1.0)
    )

    def correlation(other):
        return np.corrcoef(image.mean(-1).ravel(), other.ravel())[0, 1]

    assert correlation(much) < correlation(little) < 1
    # Shifted by some pixels, the result correlates less with the original.
    for shift, axis in ((4, 0), (-4, 0), (4, 1), (-4, 1)):
        assert correlation(np.roll(little, shift, axis)) < correlation(little)


def test_night_is_darker_and_fog_lowers_contrast_most_at_the_top(image):
    rng = np.random.default_rng(1)
    assert weather.night(image, 0.5, rng).mean() < 0.6 * image.mean()
    foggy = weather.fog(image, 0.5, rng)
    assert foggy.std() < image.std()
    contrast = foggy.std(axis=(1, 2)) / np.maximum(image.std(axis=(1, 2)), 1e-3)
    assert contrast[2] < contrast[-2]


def test_blur_keeps_a_uniform_image():
    flat = np.full((*SIZE, 3), 100, np.uint8)
    assert (weather.blur(flat, 1.0, None) == 100).all()
