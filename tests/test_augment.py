import numpy as np
import pytest
import tensorflow as tf

from kseg.augment import augment
from kseg.labels import IGNORE_ID

HEIGHT, WIDTH = 48, 81


def coordinates():
    """An image that says where each pixel came from, and the mask that says the same."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    image = np.stack([columns, rows, np.full_like(rows, 100)], axis=-1).astype(np.float32)
    mask = (columns // 27 + 3 * (rows // 16)).astype(np.int32)
    return tf.constant(image), tf.constant(mask)


def apply(seed, **options):
    options = {"flip": False, "scale": (1.0, 1.0), "color_jitter": 0.0} | options
    image, mask = augment(*coordinates(), tf.constant([0, seed], tf.int64), **options)
    return image.numpy(), mask.numpy()


@pytest.mark.parametrize("seed", range(8))
def test_image_and_mask_move_together(seed):
    image, mask = apply(seed, flip=True, scale=(0.6, 1.7))
    inside = (mask != IGNORE_ID) & (image[..., 2] == 100)
    assert inside.mean() > 0.3
    came_from = np.round(image).astype(int)
    expected = came_from[..., 0] // 27 + 3 * (came_from[..., 1] // 16)
    # Rounding at the borders between mask cells alone may differ.
    assert (expected == mask)[inside].mean() > 0.95


def test_ids_are_never_invented_and_outside_is_ignored():
    _, mask = apply(3, scale=(0.5, 0.5))
    assert set(np.unique(mask)) == {*range(9), IGNORE_ID}
    assert (mask == IGNORE_ID).mean() == pytest.approx(0.75, abs=0.03)


def test_flip_mirrors_half_of_the_seeds_exactly():
    original = coordinates()[0].numpy()
    flips = 0
    for seed in range(40):
        image, _ = apply(seed, flip=True)
        flips += (image == original[:, ::-1]).all()
        assert (image == original).all() or (image == original[:, ::-1]).all()
    assert 10 <= flips <= 30


def test_same_seed_same_picture_other_seed_another():
    options = {"flip": True, "scale": (0.8, 1.2), "color_jitter": 0.3}
    first, again, other = apply(1, **options), apply(1, **options), apply(2, **options)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_color_jitter_moves_no_pixel_and_stays_in_range():
    image, mask = apply(5, color_jitter=0.9)
    assert np.array_equal(mask, coordinates()[1].numpy())
    assert image.min() >= 0 and image.max() <= 255
    assert not np.array_equal(image, coordinates()[0].numpy())
