"""Fitting frames and masks to the model input, and class maps back."""

import numpy as np
import pytest

from kseg import preprocess
from kseg.labels import IGNORE_ID

RNG = np.random.default_rng(0)
FRAME_SIZES = [(720, 1280), (101, 333), (333, 101), (40, 60), (96, 160)]


def test_placement_by_hand():
    # 100x200 into 96x160: scale 0.8 fits the width, 80 rows, 8 above and below.
    assert preprocess.placement((100, 200), (96, 160), "letterbox") == (80, 160, 8, 0)
    # Scale 0.96 fills the height, 192 columns, 16 cut on both sides.
    assert preprocess.placement((100, 200), (96, 160), "crop") == (96, 192, 0, -16)
    assert preprocess.placement((100, 200), (96, 160), "stretch") == (96, 160, 0, 0)
    # Odd remainders truncate towards zero, as in C++ and Java.
    assert preprocess.placement((100, 100), (100, 103), "letterbox") == (100, 100, 0, 1)
    assert preprocess.placement((100, 103), (100, 100), "crop") == (100, 103, 0, -1)


@pytest.mark.parametrize("fit", preprocess.FITS)
@pytest.mark.parametrize("size", FRAME_SIZES)
def test_image_and_mask_are_fitted_alike(size, fit):
    # A bright rectangle on dark ground, marked in the mask: both must cover the same pixels.
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    image = np.repeat(mask[..., None] * 200, 3, axis=2)
    fitted = preprocess.fit_image(image, (96, 160), fit)
    fitted_mask = preprocess.fit_mask(mask, (96, 160), fit)
    assert fitted.shape == (96, 160, 3) and fitted_mask.shape == (96, 160)
    bright = fitted[..., 0] > 100
    # Only border pixels may differ, where the image is interpolated.
    assert (bright != (fitted_mask == 1)).mean() < 0.02
    assert set(np.unique(fitted_mask)) <= {0, 1, IGNORE_ID}


@pytest.mark.parametrize("size", FRAME_SIZES)
def test_unfitting_restores_the_class_map(size):
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 3 :, : size[1] // 2] = 1
    for fit in ("letterbox", "stretch"):
        there = preprocess.fit_mask(mask, (96, 160), fit)
        back = preprocess.unfit_class_map(there, size, fit)
        assert back.shape == size
        assert (back == mask).mean() > 0.95 and IGNORE_ID not in back


def test_pixels_that_crop_cut_off_get_the_ignore_id():
    back = preprocess.unfit_class_map(np.ones((96, 96), np.uint8), (96, 160), "crop")
    assert (back[:, 32:128] == 1).all()
    assert (back[:, :32] == IGNORE_ID).all() and (back[:, 128:] == IGNORE_ID).all()


def test_resizing_a_mask_invents_no_ids():
    mask = RNG.choice(np.array([0, 7], np.uint8), (333, 211))
    assert set(np.unique(preprocess.resize_mask(mask, (97, 61)))) == {0, 7}


def test_a_centre_between_two_pixels_takes_the_later_one():
    # The middles of 6 pixels lie at 1/3, 1, 5/3, 7/3, 3 and 11/3 of 4.
    row = preprocess.resize_mask(np.arange(4, dtype=np.uint8)[None], (1, 6))
    assert row.tolist() == [[0, 1, 1, 2, 3, 3]]


@pytest.mark.parametrize("fit", preprocess.FITS)
@pytest.mark.parametrize("size", FRAME_SIZES)
def test_the_runner_in_deploy_is_bit_exact(runner, size, fit):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = preprocess.fit_image(image, (97, 161), fit)
    assert np.array_equal(ours, runner.fit_frame(image, [97, 161], fit, preprocess.PAD_VALUE))
    class_map = RNG.integers(0, 3, (97, 161), dtype=np.uint8)
    ours = preprocess.unfit_class_map(class_map, size, fit)
    assert np.array_equal(ours, runner.unfit_class_map(class_map, size, fit))
