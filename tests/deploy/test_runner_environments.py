"""deploy/python with Pythons, NumPys and OpenCVs as cars have them, each in its own environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from kseg_run import command

from tests import gstreamer
from tests.conftest import ROOT
from tests.deploy.test_videos import ANGLES, FRAMES, MODEL, TIMES, turn, write_video
from tests.golden_files import CASES, DOCUMENT, FORMS, GOLDEN, assert_class_map, write_form

pytestmark = pytest.mark.slow
RUNNER = ROOT / "deploy" / "python"
DEBIAN = "/usr/bin/python3"  # The one that apt-get installs packages for.
# Python; whether it sees the system's packages; packages to install. OpenCV: the oldest that the
# runner supports, the last before 5 under its other name, and Debian's.
ENVIRONMENTS = {
    "oldest": ("3.10", False, ["numpy==1.26.4", "opencv-python-headless==4.5.5.64"]),
    "newest": ("3.13", False, ["numpy>=2", "opencv-python==4.13.0.92"]),
    "debian": (DEBIAN, True, ["numpy<2"]),
}


def find_python(version):
    """A Python of this version, as far as there is one, else the one that runs the tests."""
    name = f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(name), *root.glob(f"versions/{version}.*/bin/{name}")]
    for path in filter(None, found):  # A shim of pyenv's may be there without its Python.
        if not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
            return str(path)
    return sys.executable


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def environment(request, tmp_path_factory):
    """A function (script, *argv) that runs a Python script there. Returns the process."""
    version, system, packages = ENVIRONMENTS[request.param]
    python = version if version == DEBIAN else find_python(version)
    if system and subprocess.run([python, "-c", "import cv2"], check=False).returncode:
        pytest.skip("no OpenCV for Debian's Python (apt-get install python3-opencv)")
    folder = tmp_path_factory.mktemp("environment")
    make = [python, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run([*make, *["--system-site-packages"] * system], check=True)
    inside = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", inside, "install", "--quiet"]
    subprocess.run([*install, "ai-edge-litert>=2.3", *packages], check=True)

    def run(script, *argv):
        variables = {**os.environ, "PYTHONPATH": str(RUNNER), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [inside, str(script), *map(str, argv)],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_every_golden_class_map(environment, tmp_path):
    jobs, compared = [], []

    def add(model, cases, tolerance):
        jobs.append({"model": str(model), "cases": []})
        for case in cases:
            out = tmp_path / f"{len(compared)}.npy"
            frame = str(GOLDEN / case["frame"])
            jobs[-1]["cases"].append({"frame": frame, "fit": case["fit"], "out": str(out)})
            compared.append((out, case, tolerance))

    add(MODEL, CASES, DOCUMENT["tolerance"])
    for number, form in enumerate(FORMS):
        (tmp_path / f"form{number}").mkdir()
        add(write_form(form, tmp_path / f"form{number}"), form["cases"], form["tolerance"])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = environment(ROOT / "tests/deploy/segment_files.py", tmp_path / "jobs.json")
    assert done.returncode == 0, done.stderr
    for out, case, tolerance in compared:
        assert_class_map(np.load(out), case, tolerance)


def test_turned_videos_give_the_class_maps_of_this_environment(environment, tmp_path):
    for angle, matrix in ANGLES.items():
        path = turn(write_video(tmp_path / f"{angle}.mp4", TIMES), matrix)
        argv = [MODEL, path, "--save-masks", "--threads", 1, "--out"]
        done = environment(RUNNER / "run.py", *argv, tmp_path / "there")
        assert done.returncode == 0, done.stderr
        assert command.main([str(a) for a in [*argv, tmp_path / "here"]]) == 0
        for number in range(FRAMES):
            ours, theirs = (
                cv2.imread(str(tmp_path / side / f"masks/{angle}-{number:06d}.png"), -1)
                for side in ("here", "there")
            )
            assert ours is not None and np.array_equal(ours, theirs), (angle, number)


def test_bad_input_is_one_line(environment, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"text")
    for source in (tmp_path / "bad.png", tmp_path / "absent.mp4", "/dev/video99"):
        done = environment(RUNNER / "run.py", MODEL, source, "--out", tmp_path / "out")
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and last.startswith("error: "), done.stderr
        assert str(source) in last and "Traceback" not in done.stderr


def test_a_gstreamer_pipeline_plays_the_csi_camera(environment, tmp_path, request):
    flags = ("--frames", gstreamer.FRAMES, "--save-masks", "--no-overlays", "--out", tmp_path)
    argv = (GOLDEN / "tensor-uint8.tflite", gstreamer.csi_stand_in(), *flags)
    done = environment(RUNNER / "run.py", *argv)
    if "debian" not in request.node.name:  # pip's OpenCV is built without it.
        assert done.returncode == 2 and "without GStreamer" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    gstreamer.assert_masks_show_the_camera(tmp_path / "masks")
    assert "128x72" in done.stdout + done.stderr
