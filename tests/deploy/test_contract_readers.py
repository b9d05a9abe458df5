import importlib
import json
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kseg import contract
from tests.conftest import ROOT, scene

RUNNER = ROOT / "deploy" / "python" / "run.py"


def run_runner(*argv):
    return subprocess.run(
        [sys.executable, str(RUNNER), *map(str, argv)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def frame_path(tmp_path):
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), scene(np.random.default_rng(9), (120, 181))[0])
    return path


def test_runner_and_kseg_predict_give_the_same_class_map(
    trained_run, tflite_path, frame_path, tmp_path
):
    from kseg import predict

    assert (
        predict.main(
            [str(trained_run), str(frame_path), "--out", str(tmp_path / "a"), "--save-masks"]
        )
        == 0
    )
    done = run_runner(tflite_path, frame_path, "--out", tmp_path / "b", "--save-masks")
    assert done.returncode == 0, done.stderr
    assert "1 frames" in done.stdout and "ms" in done.stdout
    predicted, segmented = (
        cv2.imread(str(tmp_path / x / "masks/frame.png"), cv2.IMREAD_UNCHANGED) for x in "ab"
    )
    assert predicted.shape == (120, 181) and (predicted == segmented).mean() >= 0.999
    overlays = [cv2.imread(str(tmp_path / x / "frame.png")).astype(int) for x in "ab"]
    assert (np.abs(overlays[0] - overlays[1]).max(axis=-1) > 1).mean() < 0.02


def test_runner_imports_neither_tensorflow_nor_kseg(tflite_path):
    code = (
        f"import sys; sys.path.insert(0, {str(RUNNER.parent)!r}); import run; "
        f"run.Segmenter({str(tflite_path)!r}); "
        "print(*(m for m in ('tensorflow', 'keras', 'kseg', 'matplotlib') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == ""


def test_the_package_has_the_requirements_of_a_checkout_and_the_command():
    folder = RUNNER.parent
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    required = (folder / "requirements.txt").read_text().split()
    assert sorted(project["project"]["dependencies"]) == sorted(required)
    module, function = project["project"]["scripts"]["kseg-run"].split(":")
    assert callable(getattr(importlib.import_module(module), function))
    modules = {path.parent.name for path in folder.glob("*/*.py")}
    assert modules == set(project["tool"]["setuptools"]["packages"])


def test_runner_writes_a_video(tflite_path, tmp_path):
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (160, 96))
    for seed in range(4):
        writer.write(scene(np.random.default_rng(seed), (96, 160))[0])
    writer.release()
    done = run_runner(tflite_path, path, "--out", tmp_path / "out", "--frames", 3)
    assert done.returncode == 0, done.stderr
    assert cv2.VideoCapture(str(tmp_path / "out/drive.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_bad_input_is_a_one_line_error(tflite_path, frame_path, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "other.tflite").write_bytes(
        tflite_path.read_bytes().replace(b"kseg_contract", b"some_contract")
    )
    document = json.loads(contract.read(tflite_path).to_json())
    del document["fit"]
    without_fit = contract.embed(
        tflite_path.read_bytes(), SimpleNamespace(to_json=lambda: json.dumps(document))
    )
    (tmp_path / "without_fit.tflite").write_bytes(contract.append_checksum(without_fit))
    for argv, words in (
        ((tmp_path / "without_fit.tflite", frame_path), "kseg contract (fit)"),
        ((tflite_path, tmp_path / "nothing.jpg"), "no such file"),
        ((tflite_path, tmp_path / "broken.mp4"), "cannot be opened as a video"),
        ((tmp_path / "other.tflite", frame_path), "no kseg contract"),
        ((tmp_path / "missing.tflite", frame_path), "cannot be read"),
        ((frame_path, frame_path), "not a .tflite file"),
        ((tflite_path, frame_path, "--out", tmp_path), "--out"),
        ((tflite_path, frame_path, "--out", frame_path), "--out"),
        ((tflite_path, frame_path, "--threads", 0), "--threads 0: "),
        ((tflite_path, frame_path, "--frames", 0), "--frames 0: "),
    ):
        out = () if "--out" in argv else ("--out", tmp_path / "out")
        done = run_runner(*argv, *out)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 2 and len(errors) == 1 and words in errors[0], done.stderr
        assert "Traceback" not in done.stderr


def test_real_frames_and_video(shared_data, tflite_path, tmp_path):
    done = run_runner(tflite_path, shared_data / "frames", "--out", tmp_path)
    assert done.returncode == 0 and len(list(tmp_path.glob("*.png"))) == 6
    video = shared_data / "video" / "solidWhiteRight.mp4"
    assert run_runner(tflite_path, video, "--out", tmp_path, "--frames", 5).returncode == 0
