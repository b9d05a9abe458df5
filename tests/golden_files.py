"""Reads tests/golden for the tests of every runner; scripts/make_golden.py describes the files."""

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
EACH_REFUSED = [pytest.param(case, id=case["model"]) for case in DOCUMENT["refused"]]
EACH_FORM = [pytest.param(form, id=f"{form['model']}-{form['profile']}") for form in FORMS]


def read(name):
    """Returns a frame or an input, (h, w, 3) uint8 RGB, or a class map, (h, w) uint8."""
    image = cv2.imread(str(GOLDEN / name), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


def write_form(form, folder):
    """Writes the file of one of FORMS as `model.tflite`. Returns its path."""
    path, tflite = folder / "model.tflite", (GOLDEN / form["model"]).read_bytes()
    path.write_bytes(replaced(tflite, *form["replace"]) if "replace" in form else tflite)
    return path


def tensor(form, case):
    """Returns the tensor that a runner must pass to the graph of one of FORMS."""
    return read(case["input"])[None].astype(form["input_dtype"])


def assert_class_map(class_map, case, tolerance):
    """Compares a runner's class map with the golden one."""
    expected = read(case["class_map"])
    assert class_map.shape == expected.shape and class_map.dtype == np.uint8
    assert (class_map != expected).mean() <= tolerance


def write_corrupt(folder):
    """Writes the files that every runner must refuse. Returns [(path, pattern), ...].

    The complete error message, without a leading "error: ", must match the pattern.
    """
    good, files = MODEL.read_bytes(), []
    for number, entry in enumerate(DAMAGED):
        path = folder / f"{number}.tflite"
        path.write_bytes(corrupted(good, entry))
        words = re.escape(entry["error"]).replace(r"\*", ".*")
        files.append((path, f"{re.escape(str(path))}: {words}"))
    return files


def corrupted(good, entry):
    """Returns a .tflite (bytes), changed as an entry of DAMAGED says."""
    if "bytes" in entry:
        return entry["bytes"].encode()
    if "keep" in entry:
        return good[: entry["keep"]]
    if "append" in entry:
        return good + entry["append"].encode()
    if "flip" in entry:
        flipped = bytearray(good)
        flipped[entry["flip"]] ^= 1
        return bytes(flipped)
    return replaced(good, *entry["replace"])


def replaced(tflite, old, new):
    """Returns a .tflite (bytes) with a text replaced by one of equal length, and a new checksum."""
    assert old.encode() in tflite and len(old) == len(new), old
    return contract.append_checksum(tflite[:-8].replace(old.encode(), new.encode()))
