"""deploy/web: the core, under Node.js, compared with the golden files and deploy/python."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from kseg import contract
from tests.conftest import ROOT
from tests.deploy.test_android import RawContract, noise, sizes, with_contract
from tests.golden_files import (
    CASES,
    DOCUMENT,
    FORMS,
    GOLDEN,
    MODEL,
    assert_class_map,
    read,
    tensor,
    write_corrupt,
    write_form,
)

WEB = ROOT / "deploy" / "web"
FITS = ("letterbox", "stretch", "crop")

if not shutil.which("node"):
    pytest.skip("no Node.js (apt-get install nodejs npm)", allow_module_level=True)


class Core:
    """Jobs for the core, run by one Node.js process."""

    def __init__(self, folder):
        self.folder, self.jobs, self.count = folder, [], 0

    def write(self, array):
        """Writes an array for a job. Returns the file's name."""
        self.count += 1
        np.ascontiguousarray(array).tofile(self.folder / f"{self.count}.bin")
        return f"{self.count}.bin"

    def add(self, job, **values):
        """Adds a job. Returns the name of the file for its output."""
        self.count += 1
        self.jobs.append({"do": job, "out": f"{self.count}.bin", **values})
        return f"{self.count}.bin"

    def run(self):
        """Runs the jobs. Returns their results."""
        (self.folder / "jobs.json").write_text(json.dumps(self.jobs))
        command = ["node", str(WEB / "test" / "run_core.js"), str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads((self.folder / "results.json").read_text())

    def load(self, name, shape, dtype=np.uint8):
        return np.fromfile(self.folder / name, dtype).reshape(shape)


@pytest.fixture
def core(tmp_path):
    return Core(tmp_path)


def fit_job(core, frame, input_size, fit, pad_value):
    size, values = frame.shape[:2], {"input": list(input_size), "fit": fit, "pad": pad_value}
    return core.add("fit", frame=core.write(frame), size=size, **values)


def unfit_job(core, ids, frame_size, fit):
    values = {"input": ids.shape, "size": list(frame_size), "fit": fit}
    return core.add("unfit", ids=core.write(ids), **values)


def test_fitting_gives_exactly_the_golden_inputs(core):
    golden = contract.read(MODEL)
    outs = [
        fit_job(core, read(c["frame"]), golden.input_size, c["fit"], golden.pad_value)
        for c in CASES
    ]
    core.run()
    for case, out in zip(CASES, outs, strict=True):
        assert np.array_equal(core.load(out, (*golden.input_size, 3)), read(case["input"]))


def test_fitting_equals_opencvs_bit_for_bit(core, runner):
    rng = np.random.default_rng(0)
    expected = []
    for frame_size, input_size in sizes(100):
        frame = noise(rng, frame_size, input_size)
        ids = rng.integers(0, 20, input_size, dtype=np.uint8)
        for fit in FITS:
            fitted = runner.fit_frame(frame, input_size, fit, 7)
            expected.append((fit_job(core, frame, input_size, fit, 7), fitted))
            unfitted = runner.unfit_class_map(ids, frame_size, fit)
            expected.append((unfit_job(core, ids, frame_size, fit), unfitted))
    core.run()
    for job, (out, array) in zip(core.jobs, expected, strict=True):
        assert np.array_equal(core.load(out, array.shape), array), job


def litert_output(path, image):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_every_form_gets_its_tensor_and_its_output_becomes_the_golden_class_map(core, tmp_path):
    """With LiteRT as the runtime, in Python; test_web_page.py runs LiteRT.js."""
    checks = []
    for number, form in enumerate(FORMS):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, document = write_form(form, folder), None
        document = contract.read(path)
        for case in form["cases"]:
            frame, image = read(case["frame"]), tensor(form, case)
            fitted = runner_input = core.write(read(case["input"]))
            tensor_out = core.add("tensor", model=str(path), fitted=runner_input)
            output = core.write(litert_output(path, image))
            ids_out = core.add("ids", model=str(path), output=output)
            unfit_out = core.add(
                "unfit",
                ids=ids_out,
                input=document.input_size,
                size=frame.shape[:2],
                fit=document.fit,
            )
            checks.append((form, case, image, frame, fitted, tensor_out, unfit_out))
    core.run()
    for form, case, image, frame, _, tensor_out, unfit_out in checks:
        assert np.array_equal(core.load(tensor_out, image.shape, image.dtype), image)
        assert_class_map(core.load(unfit_out, frame.shape[:2]), case, form["tolerance"])


def test_frames_without_a_class_are_refused(core):
    for case in DOCUMENT["refused"]:
        path, frame = GOLDEN / case["model"], read(case["input"])
        image = frame[None].astype(contract.read(path).input_dtype)
        core.add("ids", model=str(path), output=core.write(litert_output(path, image)))
    assert core.run() == [{"error": case["error"]} for case in DOCUMENT["refused"]]


def test_corrupt_files_are_refused_with_the_golden_messages(core, tmp_path):
    folder = tmp_path / "corrupt"
    folder.mkdir()
    files = write_corrupt(folder)
    for path, _ in files:
        core.add("read", path=str(path))
    for (_, pattern), result in zip(files, core.run(), strict=True):
        assert re.fullmatch(pattern, result["error"])


def test_json_is_parsed_strictly(core, tmp_path):
    good, text = MODEL.read_bytes(), contract.read(MODEL).to_json()
    changes = [
        ("[" * 100_000, "nested too deeply"),
        (text.replace('"fit"', '"a": ' + "[" * 17 + "]" * 17 + ', "fit"'), "nested too deeply"),
        (text.replace('"fit"', '"pad_value": 9, "fit"'), "duplicate key"),
        (text.replace('"pad_value": 0', '"pad_value": 00'), "invalid number"),
        (text.replace('"pad_value": 0', '"pad_value": 0.0'), "pad_value"),
        (text.replace('"pad_value": 0', '"pad_value": 1e999'), "number out of range"),
        (text.replace('"pad_value": 0', '"pad_value": NaN'), "expected a value"),
        (text.replace('"letterbox"', '"letter\nbox"'), "control character"),
        (text.replace('"letterbox"', '"letter\\ud83d"'), "lone surrogate"),
        (text.replace('"fit"', '"a": [' + "0," * 5000 + '0], "fit"'), "too many items"),
        (text + " {}", "text after the document"),
        ("\ufeff" + text, "expected a value"),
        (text[:-1], "expected ',' or '}'"),
        ("", "expected a value"),
        ("[]", "contract_version"),
        (" " * 2_000_000, "longer than a contract can be"),
    ]
    for number, (changed, _) in enumerate(changes):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
        core.add("read", path=str(path))
    path = tmp_path / "cafe.tflite"
    changed = text.replace('"unet"', '"caf\\u00e9 \\ud83d\\ude97 é"')
    path.write_bytes(contract.append_checksum(contract.embed(good, RawContract(changed))))
    core.add("read", path=str(path))
    *refused, read_well = core.run()
    for (_, words), result in zip(changes, refused, strict=True):
        assert words in result["error"] and "invalid kseg contract (" in result["error"], words
    assert read_well["model"] == "café 🚗 é"


def test_every_truncation_is_refused(core, tmp_path):
    good = MODEL.read_bytes()
    for size in range(0, len(good), 997):
        path = tmp_path / f"{size}.tflite"
        path.write_bytes(good[:size])
        core.add("read", path=str(path))
    assert all("error" in result for result in core.run())


def test_measures_equal_the_python_runners(core, runner, tmp_path):
    from kseg_run.lane_measures import LaneMeasures

    rng, rows = np.random.default_rng(1), [0, 0.3, 0.6, 0.99]
    path = with_contract(tmp_path / "model.tflite")
    classes = contract.read(path).labels["classes"]
    maps = [read(c["class_map"]) for c in CASES]
    maps += [
        rng.integers(0, 3, (rng.integers(1, 40), rng.integers(1, 40)), np.uint8) for _ in "abcdef"
    ]
    maps += [np.full((4, 5), 255, np.uint8)]
    for ids in maps:
        core.add("measure", ids=core.write(ids), size=ids.shape, classes=classes, rows=rows)
    none = [{**label, "drivable": False} for label in classes]
    core.add("measure", ids=core.write(maps[0]), size=maps[0].shape, classes=none, rows=rows)
    measure = LaneMeasures(classes, rows)
    expected = [*(measure(ids) for ids in maps), LaneMeasures(none, rows)(maps[0])]
    assert core.run() == expected and expected[-1]["drivable_share"] is None


def test_colours_are_the_contracts_and_black_or_unseen_pixels_are_transparent(core):
    classes = contract.read(MODEL).labels["classes"]
    ids = np.array([*(c["id"] for c in classes), 255], np.uint8)
    out = core.add("paint", ids=core.write(ids), classes=classes)
    core.run()
    expected = [[*c["color"], 255 if any(c["color"]) else 0] for c in classes] + [[0, 0, 0, 0]]
    assert core.load(out, (len(ids), 4)).tolist() == expected


def test_the_cores_own_tests_pass():
    """The comparison of GPU and CPU, latency percentiles, rows, patterns."""
    done = subprocess.run(
        ["node", "--test", "test/core.test.js", "test/worker.test.js"],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "# fail 0" in done.stdout, done.stdout[-3000:]
