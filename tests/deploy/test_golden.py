"""The golden set, by which runners of every language are held to one answer, held to Python's."""

import re

import numpy as np
import pytest

from kseg import contract, preprocess
from kseg.export.profiles import PROFILES, TUNED
from tests.golden_files import (
    CASES,
    DOCUMENT,
    EACH_CASE,
    EACH_FORM,
    FORMS,
    GOLDEN,
    MODEL,
    assert_class_map,
    read,
    tensor,
    write_damaged,
    write_form,
)

TOLD = ("profile", "precision", "input_dtype", "output_kind")
EXPORTED = [form for form in FORMS if form["model"].startswith("model")]


@pytest.fixture(scope="module")
def whole():
    return contract.read(MODEL)


class Witness:
    """Stands between a runner and LiteRT's interpreter, and keeps what is handed over."""

    def __init__(self, interpreter):
        self.interpreter, self.tensors = interpreter, []

    def set_tensor(self, index, value):
        self.tensors.append(value.copy())
        self.interpreter.set_tensor(index, value)

    def __getattr__(self, name):
        return getattr(self.interpreter, name)


@pytest.mark.parametrize("case", EACH_CASE)
def test_fitting_gives_the_input_to_the_bit(runner, whole, case):
    frame, size = read(case["frame"]), whole.input_size
    for fitted in (
        preprocess.fit_image(frame, size, case["fit"]),
        runner.fit_frame(frame, size, case["fit"], whole.pad_value),
    ):
        assert np.array_equal(fitted, read(case["input"]))


@pytest.mark.parametrize("case", EACH_CASE)
def test_the_python_runner_gives_the_class_map(runner, case):
    model = runner.Segmenter(MODEL, 1)
    model.contract["fit"] = case["fit"]
    assert_class_map(model(read(case["frame"])), case, DOCUMENT["tolerance"])


@pytest.mark.parametrize("form", EACH_FORM)
def test_the_python_runner_hands_over_the_tensor_and_gives_the_class_map(runner, form, tmp_path):
    model = runner.Segmenter(write_form(form, tmp_path), 1)
    witness = model._cpu._interpreter = Witness(model._cpu._interpreter)
    for case in form["cases"]:
        assert model.contract["fit"] == case["fit"]
        assert_class_map(model(read(case["frame"])), case, form["tolerance"])
        handed, expected = witness.tensors.pop(), tensor(form, case)
        assert handed.dtype == expected.dtype and np.array_equal(handed, expected)


def test_every_form_that_export_writes_is_here(whole):
    forms = [{key: getattr(whole, key) for key in TOLD}, *EXPORTED]
    # Runners see no difference between int16x8 and fp32.
    assert {form["precision"] for form in forms} == set(TUNED)
    for profile in PROFILES.values():
        for output in profile.outputs:
            answered = [
                form["profile"]
                for form in forms
                if form["input_dtype"] == profile.image_dtype
                and form["output_kind"] == output.replace("-", "_")
            ]
            # Logits are a choice, not a profile's own; gpu-gl has gpu-classic's form.
            own = output == profile.outputs[0] and profile.name != "gpu-gl"
            assert profile.name in answered if own else answered


@pytest.mark.parametrize("form", EACH_FORM)
def test_contracts_say_what_golden_json_says(form, tmp_path):
    told = contract.read(write_form(form, tmp_path))
    for key in TOLD:
        assert getattr(told, key) == form[key]


def test_every_form_answers_as_the_first():
    expected = {case["input"]: read(case["class_map"]) for case in CASES}
    for form in EXPORTED:
        for case in form["cases"]:
            assert (read(case["class_map"]) == expected[case["input"]]).mean() >= 0.95


def test_int8_files_take_bytes_as_they_are():
    from ai_edge_litert.interpreter import Interpreter

    files = [form["model"] for form in EXPORTED if form["precision"] == "int8"]
    assert len(files) == 2
    for file in files:
        (image,) = Interpreter(model_path=str(GOLDEN / file)).get_input_details()
        assert image["dtype"] == np.uint8 and image["quantization"] == (1.0, 0)


def test_probes_answer_what_they_are_handed():
    for form in FORMS:
        for case in form["cases"]:
            image, class_map = read(case["input"]), read(case["class_map"])
            if form["model"].startswith("tensor"):
                thirds = [rows[..., i] for i, rows in enumerate(np.split(image, 3))]
                assert np.array_equal(class_map, np.concatenate(thirds))
            if form["model"] == "logits-padded.tflite":
                assert np.array_equal(class_map, image.argmax(-1))  # The first of equals.
                largest = np.sort(image)[..., 1:]
                assert (largest[..., 0] == largest[..., 1]).mean() > 0.02


def test_the_python_runner_refuses_what_is_damaged(runner, tmp_path):
    for path, pattern in write_damaged(tmp_path):
        with pytest.raises(runner.InputError) as error:
            runner.Segmenter(path)
        assert re.fullmatch(pattern, str(error.value))


def test_every_class_and_every_kind_of_resize_is_met(whole):
    maps = [read(case["class_map"]) for case in CASES]
    for class_map in maps:
        assert {0, 1, 2} <= set(np.unique(class_map))
    assert 255 in maps[-1]  # What crop cut away.
    frames = {case["frame"]: read(case["frame"]).shape[:2] for case in CASES}
    scales = [preprocess.placement(f, whole.input_size, "letterbox") for f in frames.values()]
    shrinks = [f[0] / s.height for f, s in zip(frames.values(), scales, strict=True)]
    assert [s % 1 == 0 for s in shrinks] == [False, False, True] and min(shrinks) < 1


def test_nothing_lies_there_that_no_case_names_and_it_is_small():
    named = {"golden.json", DOCUMENT["damaged"], MODEL.name, *(form["model"] for form in FORMS)}
    for case in [*CASES, *(case for form in FORMS for case in form["cases"])]:
        named |= {case["frame"], case["input"], case["class_map"]}
    assert {p.name for p in GOLDEN.iterdir()} == named
    assert sum(p.stat().st_size for p in GOLDEN.iterdir()) < 700_000
