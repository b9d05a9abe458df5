"""The golden set, by which runners of every language are held to one answer, held to Python's."""

import json

import cv2
import numpy as np
import pytest

from kseg import contract, preprocess
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
DOCUMENT = json.loads((GOLDEN / "golden.json").read_text())
CASES = [pytest.param(case, id=case["input"]) for case in DOCUMENT["cases"]]


def read(name):
    image = cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


@pytest.fixture(scope="module")
def whole():
    return contract.read(GOLDEN / DOCUMENT["model"])


@pytest.mark.parametrize("case", CASES)
def test_fitting_gives_the_input_to_the_bit(runner, whole, case):
    frame, size = read(case["frame"]), whole.input_size
    for fitted in (
        preprocess.fit_image(frame, size, case["fit"]),
        runner.fit_frame(frame, size, case["fit"], whole.pad_value),
    ):
        assert np.array_equal(fitted, read(case["input"]))


@pytest.mark.parametrize("case", CASES)
def test_the_python_runner_gives_the_class_map(runner, case):
    model = runner.Runner(GOLDEN / DOCUMENT["model"], 1)
    model.contract["fit"] = case["fit"]
    expected = read(case["class_map"])
    class_map = model(read(case["frame"]))
    assert class_map.shape == expected.shape
    assert (class_map != expected).mean() <= DOCUMENT["tolerance"]


def test_every_class_and_every_kind_of_resize_is_met(whole):
    maps = [read(case["class_map"]) for case in DOCUMENT["cases"]]
    for class_map in maps:
        assert {0, 1, 2} <= set(np.unique(class_map))
    assert 255 in maps[-1]  # What crop cut away.
    frames = {case["frame"]: read(case["frame"]).shape[:2] for case in DOCUMENT["cases"]}
    scales = [preprocess.placement(f, whole.input_size, "letterbox") for f in frames.values()]
    shrinks = [f[0] / s.height for f, s in zip(frames.values(), scales, strict=True)]
    assert [s % 1 == 0 for s in shrinks] == [False, False, True] and min(shrinks) < 1


def test_it_is_small():
    assert sum(p.stat().st_size for p in GOLDEN.iterdir()) < 300_000
