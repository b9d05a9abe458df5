"""Agreement: what counts, worked out by hand."""

import numpy as np

from kseg.evaluation.agreement import AgreementCounter
from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID


def test_letterbox_bars_do_not_count():
    counter = AgreementCounter(3)
    mask = np.full((4, 5), IGNORE_ID, np.uint8)
    mask[1:3] = 0  # 10 pixels show the frame; the other 10 are bars, on which both agree.
    reference = np.zeros((4, 5), np.uint8)
    prediction = reference.copy()
    prediction[1] = 2
    counter.add("letterboxed", mask, reference, prediction)
    counter.add("only bars", np.full_like(mask, IGNORE_ID), reference, prediction)
    report = counter.report(BDD100K_DRIVABLE)
    assert report["pixel_agreement"] == 0.5
    assert report["worst_frames"] == [{"key": "letterboxed", "agreement": 0.5}]


def test_frames_without_a_label_have_no_agreement():
    counter = AgreementCounter(3)
    ids = np.zeros((2, 2), np.uint8)
    counter.add("x", np.full_like(ids, IGNORE_ID), ids, ids)
    assert counter.report(BDD100K_DRIVABLE)["pixel_agreement"] is None
