"""tests/golden as the tests of every runner read it; scripts/make_golden.py says what it holds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = json.loads((GOLDEN / "golden.json").read_text())
MODEL = GOLDEN / DOCUMENT["model"]
CASES = DOCUMENT["cases"]
FORMS = DOCUMENT["forms"]
EACH_CASE = [pytest.param(case, id=case["input"]) for case in CASES]
EACH_FORM = [pytest.param(form, id=form["model"]) for form in FORMS]


def read(name):
    """A frame or an input (h, w, 3) uint8 RGB, or a class map (h, w) uint8."""
    image = cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


def tensor(form, case):
    """What a runner must hand to the graph of one of FORMS."""
    return read(case["input"])[None].astype(form["input_dtype"])


def assert_class_map(class_map, case, tolerance):
    """Holds a runner's class map to the golden one."""
    expected = read(case["class_map"])
    assert class_map.shape == expected.shape and class_map.dtype == np.uint8
    assert (class_map != expected).mean() <= tolerance
