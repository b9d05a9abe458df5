"""kseg_run --json and --timing: the C++ runner's measures equal the Python runner's."""

import copy
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from kseg_run import command

from kseg import contract
from tests.conftest import scene
from tests.golden_files import GOLDEN

pytest.importorskip("tests.deploy.test_cpp", reason="no cmake and C++ compiler")
from tests.deploy.test_cpp import build, error_lines, run, software_gpu, with_contract  # noqa: F401

MODEL = GOLDEN / "model.tflite"
CLOCK_KEYS = ("latency_ms", "age_ms")
ROWS = ("--rows", 0.3, 0.6, 0.8, 0.999, 0)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return build(tmp_path_factory, "-DKSEG_OPENCV=OFF", "-DKSEG_TESTS=ON")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    options = ("-DKSEG_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=Debug")
    return build(tmp_path_factory, "-DKSEG_OPENCV=OFF", "-DKSEG_TESTS=ON", *options)


@pytest.fixture
def frames(tmp_path):
    """A folder of drawn and golden frames of several sizes, with unusual names."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for seed, size in enumerate([(144, 256), (97, 161), (161, 97), (60, 201)]):
        rgb = scene(np.random.default_rng(seed), size)[0]
        cv2.imwrite(str(folder / f"street-{seed}.ppm"), rgb[..., ::-1])
    for name in ("half", "fraction", "upwards"):
        cv2.imwrite(str(folder / f'ü "{name}" \\.ppm'), cv2.imread(str(GOLDEN / f"{name}.png")))
    return folder


def parse_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def lines_of_both_runners(folder, model, frames, tmp_path, *flags):
    """The JSON lines of both runners on the same frames."""
    pngs = tmp_path / "png"
    pngs.mkdir(exist_ok=True)
    for path in frames.iterdir():
        cv2.imwrite(str(pngs / f"{path.stem}.png"), cv2.imread(str(path)))
    cpp, python = tmp_path / "cpp.jsonl", tmp_path / "python.jsonl"
    flags = ("--no-overlays", "--threads", 1, *flags)
    done = run(folder, model, frames, "--json", cpp, *flags)
    assert done.returncode == 0, done.stderr
    assert str(cpp) in done.stdout
    argv = [model, pngs, "--json", python, *flags]
    assert command.main([*map(str, argv)]) == 0
    return parse_lines(cpp.read_text()), parse_lines(python.read_text())


def assert_lines_are_equal(folder, frames, tmp_path):
    for number, (fit, flags) in enumerate(
        [("letterbox", ROWS), ("crop", (*ROWS, "--ego", "alternative")), ("stretch", ())]
    ):
        model = with_contract(tmp_path / f"{number}.tflite", fit=fit)
        cpp, python = lines_of_both_runners(folder, model, frames, tmp_path, *flags)
        assert len(cpp) == len(python) == 7
        for line, expected in zip(cpp, python, strict=True):
            assert list(line) == list(expected)
            for key in CLOCK_KEYS:
                assert 0 < line.pop(key) < 1e5 and expected.pop(key)
            assert line == expected
        rows = [row for line in python for row in line["rows"]]
        assert any(row["width_px"] for row in rows) and any(row["free_px"] > 1 for row in rows)
        assert any(row["centre_offset_px"] is None for row in rows)


def test_lines_equal_the_python_runners(plain, frames, tmp_path):
    assert_lines_are_equal(plain, frames, tmp_path)


def test_of_a_model_without_a_drivable_class_no_road_is_measured(plain, frames, tmp_path):
    labels = copy.deepcopy(contract.read(MODEL).labels)
    for label in labels["classes"]:
        label["drivable"] = False
    model = with_contract(tmp_path / "model.tflite", labels=labels)
    cpp, python = lines_of_both_runners(plain, model, frames, tmp_path, *ROWS)
    for mine, theirs in zip(cpp, python, strict=True):
        assert mine["drivable_share"] is theirs["drivable_share"] is None
        assert mine["rows"] == theirs["rows"]
        assert all(row["free_px"] is None for row in mine["rows"])
    assert any(row["width_px"] for line in cpp for row in line["rows"])  # Of class direct.


@pytest.mark.slow
def test_sanitizers_find_nothing_in_lines_and_stage_times(sanitized, frames, tmp_path):
    assert_lines_are_equal(sanitized, frames, tmp_path)
    test_stage_times_are_those_of_the_stages_that_ran(sanitized, frames, tmp_path)
    test_the_doctor_reports_which_profiles_run_here(sanitized)


def test_with_a_dash_only_the_lines_go_to_stdout(plain, frames):
    done = run(plain, MODEL, frames, "--json", "-", "--no-overlays", "--timing")
    assert done.returncode == 0 and len(parse_lines(done.stdout)) == 7
    assert "7 frames, " in done.stderr and "of inference" in done.stderr


def test_frames_that_cannot_be_decoded_leave_gaps(plain, frames):
    (frames / "street-1.ppm").write_bytes(b"P6\n160 144\n255\nshort")
    done = run(plain, MODEL, frames, "--json", "-", "--no-overlays")
    assert [line["frame"] for line in parse_lines(done.stdout)] == [0, 2, 3, 4, 5, 6]


def test_errors_of_bad_flags_equal_the_python_runners(plain, frames, tmp_path, capsys):
    missing = tmp_path / "missing" / "x.jsonl"
    for flags in (
        ("--rows", 1),
        ("--rows", 0.5, -0.25),
        ("--ego", "lane"),
        ("--json", missing),
        ("--recheck", -1),
    ):
        flags = (*flags, "--no-overlays")
        done = run(plain, MODEL, frames, *flags)
        assert command.main([*map(str, (MODEL, GOLDEN / "half.png", *flags))]) == 2
        assert done.returncode == 2
        assert error_lines(done) == [capsys.readouterr().err.splitlines()[-1]]
    for flags, words in (
        (("--rows",), "--rows: expected at least one number"),
        (("--rows", "x"), "--rows: x is not a number"),
        (("--json", "-", "--repeat", 2), "--repeat writes nothing"),
    ):
        done = run(plain, MODEL, frames, *flags)
        assert done.returncode == 2 and words in error_lines(done)[0]


def times(text):
    """{stage: minimum wall time, ms}"""
    found = re.findall(r"^(\w[\w ]*?) +([\d.]+) / +[\d.]+ .*%$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_stage_times_are_those_of_the_stages_that_ran(plain, frames, tmp_path):
    argv = (MODEL, frames, "--out", tmp_path / "o", "--timing", "--threads", 1)
    done = run(plain, *argv, "--json", tmp_path / "lines")
    stages = ["fit", "inference", "unfit", "draw", "measure", "all but inference"]
    assert list(times(done.stdout)) == stages and "processor ms" in done.stdout
    headless = run(plain, *argv, "--json", tmp_path / "lines", "--no-overlays")
    assert list(times(headless.stdout)) == [name for name in stages if name != "draw"]
    bare = run(plain, *argv[:-2], "--no-overlays")
    assert list(times(bare.stdout)) == ["fit", "inference", "unfit", "all but inference"]
    assert "processor ms" not in bare.stdout  # Other threads' processor time is not known.


def test_the_doctor_reports_which_profiles_run_here(plain):
    no_driver = {"VK_DRIVER_FILES": "/nothing", "VK_ICD_FILENAMES": "/nothing"}
    report = run(plain, "--doctor", environment=no_driver).stdout
    here = dict(re.findall(r"^(cpu|gpu|gpu-classic|gpu-gl) +(\w+)", report, re.MULTILINE))
    assert here == {"cpu": "loads", "gpu": "no", "gpu-classic": "no", "gpu-gl": "no"}, report
    assert re.search(r"^gpu +no +no Vulkan device", report, re.MULTILINE), report
    assert re.search(r"^Vulkan    (no library|no working driver|no device)", report, re.MULTILINE)
    assert re.search(r"^OpenCL    ", report, re.MULTILINE)


@pytest.mark.slow
def test_the_doctor_names_the_gpu_that_would_run_a_model(plain, software_gpu):  # noqa: F811
    report = run(plain, "--doctor", environment=software_gpu).stdout
    assert re.search(r"^Vulkan    SwiftShader.* \(software\); drivers: ", report, re.MULTILINE), (
        report
    )
    assert re.search(r"^gpu +loads +on SwiftShader", report, re.MULTILINE), report


def test_a_crashing_vulkan_driver_does_not_crash_the_doctor(plain, tmp_path):
    source, driver = tmp_path / "driver.c", tmp_path / "libdriver.so"
    source.write_text(
        "#include <stdlib.h>\n"
        "void *vk_icdGetInstanceProcAddr(void *instance, const char *name) { abort(); }\n"
    )
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", driver], check=True)
    driver_entry = {"library_path": str(driver), "api_version": "1.0.0"}
    icd = tmp_path / "icd.json"
    icd.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver_entry}))
    names = {"VK_DRIVER_FILES": str(icd), "VK_ICD_FILENAMES": str(icd)}
    done = run(plain, "--doctor", environment=names)
    if "no library" in done.stdout:
        pytest.skip("no Vulkan loader (apt-get install libvulkan1)")
    assert "Vulkan    crashes: Aborted; drivers:" in done.stdout, done.stdout + done.stderr
    assert "profile     here" in done.stdout
