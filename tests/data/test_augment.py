import numpy as np
import pytest

from kseg.data.augment import augment
from kseg.labels import IGNORE_ID

HEIGHT, WIDTH = 48, 81


def coordinates():
    """An image and a mask that both encode where each pixel is."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    image = np.stack([columns, rows, np.full_like(rows, 100)], axis=-1).astype(np.uint8)
    mask = (columns // 27 + 3 * (rows // 16)).astype(np.uint8)
    return image, mask


def augmented(seed, **options):
    options = {"flip": False, "scale": (1.0, 1.0), "color_jitter": 0.0} | options
    return augment(*coordinates(), np.random.default_rng(seed), **options)


@pytest.mark.parametrize("seed", range(8))
def test_image_and_mask_move_together(seed):
    image, mask = augmented(seed, flip=True, scale=(0.6, 1.7))
    inside = (mask != IGNORE_ID) & (image[..., 2] == 100)
    assert inside.mean() > 0.3
    origin = image.astype(int)
    expected = origin[..., 0] // 27 + 3 * (origin[..., 1] // 16)
    # Only rounding at the borders between mask cells may differ.
    assert (expected == mask)[inside].mean() > 0.95


def test_zooming_out_adds_ignored_pixels_and_no_other_ids():
    _, mask = augmented(3, scale=(0.5, 0.5))
    assert set(np.unique(mask)) == {*range(9), IGNORE_ID}
    assert (mask == IGNORE_ID).mean() == pytest.approx(0.75, abs=0.03)


def test_flip_mirrors_half_of_the_seeds_exactly():
    original = coordinates()[0]
    flips = 0
    for seed in range(40):
        image, _ = augmented(seed, flip=True)
        flips += (image == original[:, ::-1]).all()
        assert (image == original).all() or (image == original[:, ::-1]).all()
    assert 10 <= flips <= 30


def test_the_result_depends_on_the_seed_only():
    options = {"flip": True, "scale": (0.8, 1.2), "color_jitter": 0.3}
    first, again, other = augmented(1, **options), augmented(1, **options), augmented(2, **options)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_color_jitter_is_saturation_then_contrast_then_brightness():
    image, amount, seed = coordinates()[0], 0.1, 4
    saturation, contrast, brightness = 1 + amount * (
        2 * np.random.default_rng(seed).random(7)[4:] - 1
    )
    grey = image.mean(-1, keepdims=True)
    expected = grey + saturation * (image - grey)
    expected = image.mean() * brightness + contrast * (expected - image.mean())
    np.testing.assert_allclose(
        augmented(seed, color_jitter=amount)[0], np.clip(expected, 0, 255), atol=0.6
    )


def test_the_input_arrays_are_not_modified():
    image, mask = coordinates()
    augment(image, mask, np.random.default_rng(0), flip=True, scale=(0.5, 2), color_jitter=0.5)
    assert np.array_equal(image, coordinates()[0]) and np.array_equal(mask, coordinates()[1])


def test_color_jitter_changes_colors_only():
    image, mask = augmented(5, color_jitter=0.9)
    assert np.array_equal(mask, coordinates()[1])
    assert image.dtype == np.uint8
    assert not np.array_equal(image, coordinates()[0])
