"""tests/golden as the tests of every runner read it; scripts/make_golden.py says what it holds."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg import contract

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = json.loads((GOLDEN / "golden.json").read_text())
MODEL = GOLDEN / DOCUMENT["model"]
CASES = DOCUMENT["cases"]
FORMS = DOCUMENT["forms"]
EACH_CASE = [pytest.param(case, id=case["input"]) for case in CASES]
DAMAGED = json.loads((GOLDEN / DOCUMENT["damaged"]).read_text())
EACH_FORM = [pytest.param(form, id=f"{form['model']}-{form['profile']}") for form in FORMS]


def read(name):
    """A frame or an input (h, w, 3) uint8 RGB, or a class map (h, w) uint8."""
    image = cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


def write_form(form, folder):
    """Writes the file of one of FORMS as `model.tflite`. Returns its path."""
    path, tflite = folder / "model.tflite", (GOLDEN / form["model"]).read_bytes()
    path.write_bytes(replaced(tflite, *form["replace"]) if "replace" in form else tflite)
    return path


def tensor(form, case):
    """What a runner must hand to the graph of one of FORMS."""
    return read(case["input"])[None].astype(form["input_dtype"])


def assert_class_map(class_map, case, tolerance):
    """Holds a runner's class map to the golden one."""
    expected = read(case["class_map"])
    assert class_map.shape == expected.shape and class_map.dtype == np.uint8
    assert (class_map != expected).mean() <= tolerance


def write_damaged(folder):
    """Writes the files that every runner must refuse. Returns [(path, pattern), ...].

    pattern is what the whole refusal must match, but for a leading "error: ".
    """
    good, found = MODEL.read_bytes(), []
    for number, damage in enumerate(DAMAGED):
        path = folder / f"{number}.tflite"
        path.write_bytes(damaged(good, damage))
        words = re.escape(damage["error"]).replace(r"\*", ".*")
        found.append((path, f"{re.escape(str(path))}: {words}"))
    return found


def damaged(good, damage):
    """Returns a .tflite (bytes) as one entry of DAMAGED changes it."""
    if "bytes" in damage:
        return damage["bytes"].encode()
    if "keep" in damage:
        return good[: damage["keep"]]
    if "append" in damage:
        return good + damage["append"].encode()
    if "flip" in damage:
        flipped = bytearray(good)
        flipped[damage["flip"]] ^= 1
        return bytes(flipped)
    return replaced(good, *damage["replace"])


def replaced(tflite, old, new):
    """Returns a .tflite (bytes) with a text exchanged for one of its length, sealed anew."""
    assert old.encode() in tflite and len(old) == len(new), old
    return contract.append_checksum(tflite[:-8].replace(old.encode(), new.encode()))
