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
    mean = image[::4].mean()
    expected = mean * brightness + contrast * (expected - mean)
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


def positions(size=(48, 80)):
    """An image and a mask that both encode the row or the column of each pixel, times 3 and 1."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([columns * 3, rows * 3, np.full(size, 200)], axis=-1).astype(np.uint8)
    return image, columns.astype(np.uint8), rows.astype(np.uint8)


@pytest.mark.parametrize("zoom", [0.5, 0.77, 1.0, 1.3, 2.0, 3.7])
@pytest.mark.parametrize("seed", range(6))
def test_image_and_mask_move_together_to_half_a_pixel(zoom, seed):
    image, *coded = positions()
    for channel, mask in enumerate(coded):
        options = {"flip": True, "scale": (zoom, zoom), "color_jitter": 0.0}
        moved, ids = augment(image, mask, np.random.default_rng(seed), **options)
        inside = ids != IGNORE_ID
        # Half a pixel of the frame or of the result, and the image's rounding to thirds.
        distance = np.abs(moved[..., channel][inside] / 3 - ids[inside])
        assert distance.max() <= 0.5 * max(1, 1 / zoom) + 1 / 3
        assert (moved[..., 2][inside] == 200).all() and (moved[~inside] == 0).all()


def letterboxed(axis, before, after):
    """A frame in the middle of bars before and after it, on an axis; which pixels are the frame."""
    rng = np.random.default_rng(0)
    image = rng.integers(40, 256, (48, 80, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (48, 80), dtype=np.uint8)
    bars = np.ones(mask.shape, bool)
    np.moveaxis(bars, axis, 0)[before : bars.shape[axis] - after] = False
    image[bars], mask[bars] = 0, IGNORE_ID
    return image, mask, ~bars


BARS = [(0, 9, 9), (0, 9, 10), (1, 12, 12), (1, 0, 1), (0, 0, 1)]


@pytest.mark.parametrize("bars", BARS)
@pytest.mark.parametrize("seed", range(10))
def test_no_augmentation_paints_the_bars(bars, seed):
    image, mask, _ = letterboxed(*bars)
    options = {"flip": True, "scale": (0.6, 1.8), "color_jitter": 0.9, "weather": 1.0}
    moved, ids = augment(image, mask, np.random.default_rng(seed), **options)
    assert (moved[ids == IGNORE_ID] == 0).all()
    assert (ids != IGNORE_ID).any() and (moved[ids != IGNORE_ID] != 0).any()


@pytest.mark.parametrize("bars", BARS)
def test_without_zoom_the_bars_keep_their_place(bars):
    image, mask, _ = letterboxed(*bars)
    options = {"flip": False, "scale": (1.0, 1.0), "color_jitter": 0.9, "weather": 1.0}
    for seed in range(10):
        _, ids = augment(image, mask, np.random.default_rng(seed), **options)
        assert np.array_equal(ids, mask)
    flipped = {
        augment(image, mask, np.random.default_rng(s), **options | {"flip": True})[1].tobytes()
        for s in range(10)
    }
    assert flipped == {mask.tobytes(), mask[:, ::-1].tobytes()}


def test_the_bars_of_a_compressed_frame_become_black():
    image, mask, frame = letterboxed(0, 9, 9)
    image[~frame] = 20  # JPEG's ringing.
    moved, _ = augment(
        image, mask, np.random.default_rng(0), flip=False, scale=(1.0, 1.0), color_jitter=0.0
    )
    assert (moved[~frame] == 0).all() and np.array_equal(moved[frame], image[frame])


def test_ignored_rows_that_show_something_are_no_bars():
    image, mask, frame = letterboxed(0, 0, 10)
    image[~frame] = 90  # The car's own bonnet, say.
    moved, _ = augment(
        image, mask, np.random.default_rng(0), flip=False, scale=(1.0, 1.0), color_jitter=0.0
    )
    assert np.array_equal(moved, image)


def test_a_frame_without_any_label_is_augmented_too():
    image = np.zeros((48, 80, 3), np.uint8)
    mask = np.full((48, 80), IGNORE_ID, np.uint8)
    for seed in range(10):
        moved, ids = augment(
            image,
            mask,
            np.random.default_rng(seed),
            flip=True,
            scale=(0.5, 2.0),
            color_jitter=0.5,
            weather=1.0,
        )
        assert (ids == IGNORE_ID).all() and moved.shape == image.shape
