"""deploy/jetson: systemd accepts the units, and the programs accept the flags in them."""

import configparser
import re
import shlex
import shutil
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.deploy.test_cpp import GOLDEN, LITERT, PLAIN, build

FOLDER = ROOT / "deploy" / "jetson"
UNITS = ["kseg.service", "kseg-python.service"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return build(tmp_path_factory, *PLAIN)


def read_unit(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(FOLDER / name)
    return parser


def command_of(name):
    return shlex.split(read_unit(name)["Service"]["ExecStart"])


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(name, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    text = (FOLDER / name).read_text().replace(command_of(name)[0], "/bin/true")
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if name in line]
    assert done.returncode == 0 and ours == [], done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_the_service_restarts_on_failure_stops_with_sigterm_and_logs(name):
    service = read_unit(name)["Service"]
    assert service["Restart"] == "on-failure" and service["KillSignal"] == "SIGTERM"
    assert service["StandardOutput"] == service["StandardError"] == "journal"
    assert read_unit(name)["Unit"]["StartLimitIntervalSec"] == "0"


def assert_flags_exist(unit, usage):
    words = command_of(unit)[1:]
    flags = [word for word in words if word.startswith("--")]
    assert len(flags) >= 3 and words[:2] == ["${KSEG_MODEL}", "${KSEG_CAMERA}"]
    for flag in flags:
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", usage), flag


def test_kseg_run_accepts_the_flags(plain):
    done = subprocess.run(
        [str(plain / "kseg_run"), "--help"], capture_output=True, text=True, check=True
    )
    assert_flags_exist("kseg.service", done.stdout)


def test_the_python_runner_accepts_the_flags():
    runner = ROOT / "deploy" / "python" / "run.py"
    done = subprocess.run(
        [sys.executable, str(runner), "--help"], capture_output=True, text=True, check=True
    )
    assert_flags_exist("kseg-python.service", done.stdout)


def test_kseg_run_notifies_systemd(plain, tmp_path):
    assert read_unit("kseg.service")["Service"]["Type"] == "notify"
    frame = tmp_path / "frame.ppm"
    cv2.imwrite(str(frame), np.zeros((72, 128, 3), np.uint8))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        environment = {"KSEG_LITERT": LITERT, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        argv = [plain / "kseg_run", GOLDEN / "model.tflite", frame, "--repeat", "2"]
        done = subprocess.run([str(a) for a in argv], env=environment, capture_output=True)
        assert done.returncode == 0
        states = [manager.recv(100).decode() for _ in range(4)]
    assert states == ["READY=1", *["WATCHDOG=1"] * 2, "STOPPING=1"]


def test_the_readme_names_every_unit_and_only_existing_files():
    text = (FOLDER / "README.md").read_text()
    assert all(name in text for name in UNITS)
    for path in re.findall(r"(?<=`)(?:deploy|scripts)/[\w/.-]+", text):
        assert (ROOT / path).exists(), path
