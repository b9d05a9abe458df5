"""The golden set, which every runner is compared with, and the Python runner on it."""

import re

import numpy as np
import pytest
from kseg_run.errors import FrameError

from kseg import contract, preprocess
from kseg.export.profiles import PROFILES, TUNED
from kseg.runtime import gpu, litert
from tests.golden_files import (
    CASES,
    DOCUMENT,
    EACH_CASE,
    EACH_FORM,
    EACH_REFUSED,
    FORMS,
    GOLDEN,
    MODEL,
    assert_class_map,
    read,
    tensor,
    write_corrupt,
    write_form,
)

FORM_KEYS = ("profile", "precision", "input_dtype", "output_kind")
EXPORTED = [form for form in FORMS if form["model"].startswith("model")]


@pytest.fixture(scope="module")
def golden():
    return contract.read(MODEL)


class RecordingInterpreter:
    """Wraps LiteRT's interpreter and records the input tensors."""

    def __init__(self, interpreter):
        self.interpreter, self.tensors = interpreter, []

    def set_tensor(self, index, value):
        self.tensors.append(value.copy())
        self.interpreter.set_tensor(index, value)

    def __getattr__(self, name):
        return getattr(self.interpreter, name)


@pytest.mark.parametrize("case", EACH_CASE)
def test_fitting_gives_exactly_the_golden_input(runner, golden, case):
    frame, size = read(case["frame"]), golden.input_size
    for fitted in (
        preprocess.fit_image(frame, size, case["fit"]),
        runner.fit_frame(frame, size, case["fit"], golden.pad_value),
    ):
        assert np.array_equal(fitted, read(case["input"]))


@pytest.mark.parametrize("case", EACH_CASE)
def test_the_python_runner_gives_the_class_map(runner, case):
    model = runner.Segmenter(MODEL, 1)
    model.contract["fit"] = case["fit"]
    assert_class_map(model(read(case["frame"])), case, DOCUMENT["tolerance"])


@pytest.mark.parametrize("form", EACH_FORM)
def test_the_python_runner_passes_the_tensor_and_gives_the_class_map(runner, form, tmp_path):
    model = runner.Segmenter(write_form(form, tmp_path), 1)
    recorder = model._cpu._interpreter = RecordingInterpreter(model._cpu._interpreter)
    for case in form["cases"]:
        assert model.contract["fit"] == case["fit"]
        assert_class_map(model(read(case["frame"])), case, form["tolerance"])
        actual, expected = recorder.tensors.pop(), tensor(form, case)
        assert actual.dtype == expected.dtype and np.array_equal(actual, expected)


def test_the_set_has_every_form_that_export_writes(golden):
    forms = [{key: getattr(golden, key) for key in FORM_KEYS}, *EXPORTED]
    # Runners see no difference between int16x8 and fp32.
    assert {form["precision"] for form in forms} == set(TUNED)
    for profile in PROFILES.values():
        for output in profile.outputs:
            profiles = [
                form["profile"]
                for form in forms
                if form["input_dtype"] == profile.image_dtype
                and form["output_kind"] == output.replace("-", "_")
            ]
            # Other outputs are optional; gpu-gl has the same form as gpu-classic.
            default = output == profile.outputs[0] and profile.name != "gpu-gl"
            assert profile.name in profiles if default else profiles


@pytest.mark.parametrize("form", EACH_FORM)
def test_contracts_match_golden_json(form, tmp_path):
    actual = contract.read(write_form(form, tmp_path))
    for key in FORM_KEYS:
        assert getattr(actual, key) == form[key]


def test_every_form_agrees_with_the_first():
    expected = {case["input"]: read(case["class_map"]) for case in CASES}
    for form in EXPORTED:
        for case in form["cases"]:
            assert (read(case["class_map"]) == expected[case["input"]]).mean() >= 0.95


def test_the_input_of_int8_files_is_raw_bytes():
    from ai_edge_litert.interpreter import Interpreter

    files = [form["model"] for form in EXPORTED if form["precision"] == "int8"]
    assert len(files) == 2
    for file in files:
        (image,) = Interpreter(model_path=str(GOLDEN / file)).get_input_details()
        assert image["dtype"] == np.uint8 and image["quantization"] == (1.0, 0)


def test_graphs_without_weights_return_their_input():
    for form in FORMS:
        for case in form["cases"]:
            image, class_map = read(case["input"]), read(case["class_map"])
            if form["model"].startswith("tensor"):
                thirds = [rows[..., i] for i, rows in enumerate(np.split(image, 3))]
                assert np.array_equal(class_map, np.concatenate(thirds) % 3)
            if form["model"] == "logits-padded.tflite":
                assert np.array_equal(class_map, image.argmax(-1))  # The first of equals.
                largest = np.sort(image)[..., 1:]
                assert (largest[..., 0] == largest[..., 1]).mean() > 0.02


def test_no_graph_pads_with_a_constant_that_drivers_ignore():
    from ai_edge_litert import schema_py_generated as schema

    for path in GOLDEN.glob("*.tflite"):
        codes = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).operatorCodes
        assert schema.BuiltinOperator.PADV2 not in [code.builtinCode for code in codes], path.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["model-fp16.tflite", "model-gpu-classic-fp16.tflite", "logits-padded.tflite"]
)
def test_the_gpu_accelerator_agrees_with_the_cpu_in_every_pixel(model):
    driver, reason = gpu.find_driver()
    if driver is None:
        pytest.skip(reason)
    tflite, cases = (GOLDEN / model).read_bytes(), CASES[:2]
    images = np.stack([read(case["input"]) for case in cases])
    result = gpu.run(tflite, images, driver)
    assert isinstance(result, gpu.GpuRun), result.reason
    assert result.compiled["fully_accelerated"] and len(result.outputs) == len(cases)
    on_cpu = litert.TFLiteModel(tflite)
    for image, output in zip(images, result.outputs, strict=True):
        expected = on_cpu.run(image[None].astype(on_cpu.input_dtype))[0]
        if output.ndim == 3:  # Logits; channels beyond the classes do not count.
            output, expected = output[..., :3].argmax(-1), expected[..., :3].argmax(-1)
        assert np.array_equal(output, expected)


@pytest.mark.parametrize("case", EACH_REFUSED)
def test_the_python_runner_refuses_frames_without_a_class(runner, case):
    with pytest.raises(FrameError) as error:
        runner.Segmenter(GOLDEN / case["model"], 1)(read(case["input"]))
    assert str(error.value) == case["error"]


def test_the_python_runner_refuses_corrupt_files(runner, tmp_path):
    for path, pattern in write_corrupt(tmp_path):
        with pytest.raises(runner.InputError) as error:
            runner.Segmenter(path)
        assert re.fullmatch(pattern, str(error.value))


def test_the_set_covers_every_class_and_every_kind_of_resize(golden):
    maps = [read(case["class_map"]) for case in CASES]
    for class_map in maps:
        assert {0, 1, 2} <= set(np.unique(class_map))
    assert 255 in maps[-1]  # Pixels that crop cut away.
    frames = {case["frame"]: read(case["frame"]).shape[:2] for case in CASES}
    scales = [preprocess.placement(f, golden.input_size, "letterbox") for f in frames.values()]
    shrinks = [f[0] / s.height for f, s in zip(frames.values(), scales, strict=True)]
    assert [s % 1 == 0 for s in shrinks] == [False, False, True] and min(shrinks) < 1


def test_every_file_is_used_and_the_set_is_small():
    named = {"golden.json", DOCUMENT["damaged"], MODEL.name}
    named |= {entry["model"] for entry in [*FORMS, *DOCUMENT["refused"]]}
    for case in [*CASES, *(case for form in FORMS for case in form["cases"])]:
        named |= {case["frame"], case["input"], case["class_map"]}
    assert {p.name for p in GOLDEN.iterdir()} == named
    assert sum(p.stat().st_size for p in GOLDEN.iterdir()) < 700_000
