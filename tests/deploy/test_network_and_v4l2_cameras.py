"""Both runners with cameras that are stale, busy, forbidden, hang, stall, and come back.

The V4L2 camera is fake_v4l2.c, preloaded into the runner; the network camera is an HTTP or an RTSP
server on the loopback. No test has a real camera.
"""

import array
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.deploy.mjpeg_server import LIMIT_S, MjpegServer
from tests.deploy.rtsp_server import RtspServer
from tests.golden_files import GOLDEN

pytestmark = pytest.mark.slow
MODEL = GOLDEN / "model.tflite"
DEVICE = "/dev/video9"
PIPE_BYTES = 4096  # The smallest pipe there is.
SHORTEST_LINE, LONGEST_LINE = 100, 1000  # Of JSON, bytes.
MISSED = 60  # Frames: 2 s.


@pytest.fixture(scope="module")
def fake_v4l2(tmp_path_factory):
    if not shutil.which("cc"):
        pytest.skip("no C compiler (apt-get install gcc)")
    library = tmp_path_factory.mktemp("fake") / "fake_v4l2.so"
    source = Path(__file__).with_name("fake_v4l2.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True
    )
    return library


@pytest.fixture(scope="module", params=["python", "cpp"])
def runner_command(request, tmp_path_factory):
    """The command of one runner, with the golden model."""
    if request.param == "python":
        return [sys.executable, str(ROOT / "deploy/python/run.py"), str(MODEL)]
    test_cpp_cameras = pytest.importorskip("tests.deploy.test_cpp_cameras")
    folder = test_cpp_cameras.build_with_opencv(tmp_path_factory)
    return [str(folder / "kseg_run"), str(MODEL)]


class Runner(subprocess.Popen):
    """A running runner, killed after LIMIT_S. finish(): (exit code, stdout). log: its stderr."""

    def __init__(self, command, source, *flags, mode="", library=None, **environment):
        litert = str(Path(find_spec("ai_edge_litert").origin).parent)
        variables = {**os.environ, "KSEG_LITERT": litert, **environment}
        if library:
            variables |= {"FAKE_V4L2": mode, "LD_PRELOAD": str(library)}
        super().__init__(
            [*command, source, "--no-overlays", *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self.log = []
        self._limit = threading.Timer(LIMIT_S, self.kill)
        self._limit.daemon = True
        self._limit.start()

    def wait_for(self, words):
        """Reads stderr until a line contains these words."""
        for line in self.stderr:
            self.log.append(line)
            if words in line:
                return line
        raise AssertionError(f"ended without '{words}': {self.log}")

    def finish(self):
        self.log += self.stderr.readlines()
        printed = self.stdout.read()
        code = self.wait()
        self._limit.cancel()
        return code, printed


def error_of(running):
    code, _ = running.finish()
    errors = [line for line in running.log if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in "".join(running.log), running.log
    return code, errors[0]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("busy", "used by another program"),
        ("forbidden", "access denied"),
        ("metadata", "metadata node"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_one_line_that_says_why(
    runner_command, fake_v4l2, mode, words
):
    code, error = error_of(Runner(runner_command, DEVICE, mode=mode, library=fake_v4l2))
    assert code == 2 and DEVICE in error and words in error


def test_a_camera_that_hangs_at_opening_is_reported_and_ends_on_a_signal(runner_command, fake_v4l2):
    hanging = {"mode": "hangs", "library": fake_v4l2}
    code, error = error_of(Runner(runner_command, "9", "--camera-timeout", 1, **hanging))
    assert code == 2 and "did not open within 1 s" in error
    running = Runner(runner_command, "9", "--camera-timeout", 600, **hanging)
    wait_until_caught(running, signal.SIGTERM)
    running.terminate()
    code, _ = running.finish()
    assert code == 0


def wait_until_caught(process, number):
    """Waits until a process has a handler for the signal."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


def test_a_driver_that_hangs_is_a_lost_camera_and_ends_on_a_signal(runner_command, fake_v4l2):
    flags = ("--camera-timeout", 5, "--reconnect", 600)
    running = Runner(runner_command, DEVICE, *flags, mode="stalls", library=fake_v4l2)
    running.wait_for("camera lost")
    running.terminate()
    code, printed = running.finish()
    assert code == 0 and "camera lost 1 times" in printed


def test_an_unplugged_camera_is_opened_again(runner_command, fake_v4l2):
    running = Runner(runner_command, DEVICE, mode="gone", library=fake_v4l2)
    running.wait_for("camera lost")
    running.wait_for("camera back")
    running.terminate()
    assert running.finish()[0] == 0


def test_ages_count_from_the_drivers_timestamp_and_gaps_are_dropped_frames(
    runner_command, fake_v4l2, tmp_path
):
    path = tmp_path / "lines.json"
    flags = ("--json", path, "--frames", 12, "--camera-fps", 30)
    code, printed = Runner(
        runner_command, DEVICE, *flags, mode="camera", library=fake_v4l2
    ).finish()
    assert code == 0 and "camera: 640x480 YUYV at 30 frames/s" in printed
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    numbers, times = ([line[key] for line in lines] for key in ("frame", "time_s"))
    # The driver's frames are 1/30 s apart; times of arrival would be only nearly so.
    assert times[0] == 0
    assert np.allclose(times, np.round(np.array(times) * 30) / 30, rtol=0, atol=1e-4)
    assert np.all(np.diff(times) > 0) and np.all(np.diff(numbers) > 0)
    assert all(line["age_ms"] > line["latency_ms"] for line in lines)
    arrived, dropped = map(
        int, re.search(r"(\d+) frames arrived: (\d+) dropped before inference", printed).groups()
    )
    assert len(lines) == 12 <= arrived - dropped and lines[-1]["dropped"] <= arrived - 12


def test_a_runner_that_waits_takes_neither_old_frames_nor_counts_those_before_its_start(
    runner_command, fake_v4l2, tmp_path
):
    log, fifo = tmp_path / "taken", tmp_path / "lines.json"
    os.mkfifo(fifo)
    source = {"mode": "camera", "library": fake_v4l2, "FAKE_V4L2_LOG": str(log)}
    running = Runner(runner_command, DEVICE, "--json", fifo, **source)
    wait_for_frames(running, log, MISSED)  # It waits for a reader, before its first frame.
    with fifo.open() as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        while bytes_in(pipe) < PIPE_BYTES - LONGEST_LINE:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.01)
        wait_for_frames(running, log, MISSED)  # It waits for the pipe to have room.
        lines = [json.loads(pipe.readline()) for _ in range(PIPE_BYTES // SHORTEST_LINE)]
        running.terminate()
        pipe.read()
    assert running.finish()[0] == 0 and lines[0]["frame"] + lines[0]["dropped"] < MISSED / 2
    steps = [
        (after["dropped"] - before["dropped"], after["frame"] - before["frame"])
        for before, after in itertools.pairwise(lines)
    ]
    dropped, ahead = max(steps)
    assert dropped > MISSED / 2 and ahead > dropped / 2, steps


def wait_for_frames(running, log, count):
    """Waits until the runner has taken this many more frames from the driver."""
    until = frames_taken(log) + count
    while frames_taken(log) < until:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)


def frames_taken(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


def bytes_in(pipe):
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


@pytest.mark.parametrize("fault", ["garbage", "truncated"])
def test_a_corrupt_jpeg_of_a_v4l2_camera_is_skipped_and_counted(
    runner_command, fake_v4l2, fault, tmp_path
):
    intact = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))[1].tobytes()
    jpeg = tmp_path / "frame.jpg"
    jpeg.write_bytes(intact)
    flags = ("--camera-size", "320x240", "--camera-format", "MJPG", "--json", "-")
    source = {"mode": "camera", "library": fake_v4l2, "FAKE_V4L2_JPEG": str(jpeg)}
    running = Runner(runner_command, DEVICE, *flags, **source)
    running.stdout.readline()
    replace(jpeg, corrupt(intact, fault))
    skipped = running.wait_for("cannot be decoded")
    replace(jpeg, intact)
    check_that_it_went_on(running, skipped)


@pytest.mark.parametrize("fault", ["garbage", "truncated"])
def test_a_corrupt_jpeg_of_a_network_camera_is_skipped_and_counted(runner_command, fault):
    with MjpegServer() as server:
        running = Runner(runner_command, server.url, "--json", "-")
        running.stdout.readline()
        intact = server.jpeg
        server.jpeg = corrupt(intact, fault)
        skipped = running.wait_for("cannot be decoded")
        server.jpeg = intact
        check_that_it_went_on(running, skipped)
    assert server.clients == 1  # Not lost.


def corrupt(jpeg, fault):
    return b"no picture" if fault == "garbage" else jpeg[: len(jpeg) // 2]


def check_that_it_went_on(running, skipped):
    number = int(re.search(r"frame (\d+) cannot", skipped)[1])
    while json.loads(running.stdout.readline())["frame"] < number:
        pass
    running.terminate()
    code, _ = running.finish()
    count = re.search(r"(\d+) not decoded or not segmented", "".join(running.log))
    assert code == 0 and int(count[1]) > 0


def replace(path, data):
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)


def test_a_camera_is_asked_for_its_mode_and_the_summary_says_what_it_gave(
    runner_command, fake_v4l2, tmp_path
):
    jpeg = tmp_path / "frame.jpg"
    cv2.imwrite(str(jpeg), np.full((240, 320, 3), 90, np.uint8))
    asked = ("--camera-size", "320x240", "--camera-fps", 10, "--camera-format", "MJPG")
    source = {"mode": "camera", "library": fake_v4l2}
    running = Runner(runner_command, "9", "--frames", 3, *asked, FAKE_V4L2_JPEG=str(jpeg), **source)
    code, printed = running.finish()
    assert code == 0 and "camera: 320x240 MJPG at 10 frames/s" in printed
    assert not any("the camera gives" in line for line in running.log)
    running = Runner(runner_command, "9", "--frames", 3, "--camera-size", "1920x1080", **source)
    code, printed = running.finish()
    assert code == 0 and "camera: 640x480 YUYV at 30 frames/s" in printed
    (warning,) = [line for line in running.log if "the camera gives" in line]
    assert "--camera-size 1920x1080" in warning and "640x480" in warning


@pytest.fixture(params=[MjpegServer, RtspServer], ids=["http", "rtsp"])
def server_type(request):
    return request.param


def test_a_network_camera_that_stalls_and_comes_back_is_reconnected(runner_command, server_type):
    with server_type() as server:
        flags = ("--camera-timeout", 5, "--reconnect", 600, "--json", "-")
        running = Runner(runner_command, server.url, *flags)
        running.stdout.readline()
        server.stall()
        lost = running.wait_for("camera lost")
        server.resume()
        running.wait_for("camera back")
        running.terminate()
        code, _ = running.finish()
    assert code == 0
    assert server.clients > 1 and "secret" not in lost and "***@127.0.0.1" in lost


def test_a_network_camera_that_abandons_a_connection_is_opened_anew(runner_command):
    with MjpegServer() as server:
        flags = ("--camera-timeout", 5, "--reconnect", 60, "--json", "-")
        running = Runner(runner_command, server.url, *flags)
        running.stdout.readline()
        server.abandon_clients()
        running.wait_for("camera back")
        running.terminate()
        assert running.finish()[0] == 0 and server.clients > 1


def test_a_network_camera_that_hangs_up_and_comes_back_is_reconnected(runner_command, server_type):
    with server_type() as server:
        running = Runner(runner_command, server.url, "--reconnect", 600, "--json", "-")
        line = json.loads(running.stdout.readline())
    assert line["frame"] >= 0
    running.wait_for("camera lost")
    with server_type(port=server.port) as again:
        running.wait_for("camera back")
        running.terminate()
        code, printed = running.finish()
    assert code == 0 and again.clients > 0
    assert ", 0 not decoded" in printed + "".join(running.log)


@pytest.mark.parametrize("then", ["lost", "silent", "stalled", "refused"])
def test_a_network_camera_that_stays_away_ends_the_run(runner_command, server_type, then):
    never_opens = then in ("silent", "stalled")
    # Long enough to open a camera on a busy machine, unless it never opens.
    flags = ("--camera-timeout", 1 if never_opens else 60, "--reconnect", 1, "--json", "-")
    with server_type(silent=then == "silent") as server:
        if then == "stalled":  # Answers all requests, but no frame follows.
            server.stall()
        if then != "refused":
            running = Runner(runner_command, server.url, *flags)
        if then == "lost":
            running.stdout.readline()
        if never_opens:
            code, error = error_of(running)
    if then == "refused":
        running = Runner(runner_command, server.url, *flags)
    if not never_opens:
        code, error = error_of(running)
    words = {"lost": "no frame for 1 s", "refused": "cannot be opened as a camera"}
    assert words.get(then, "did not open within 1 s") in error
    assert code == (3 if then == "lost" else 2) and "secret" not in error


@pytest.mark.parametrize(
    "flags", [["--camera-size", "640x480"], ["--camera-fps", "30"], ["--camera-format", "MJPG"]]
)
def test_a_network_camera_cannot_be_asked_for_a_mode(runner_command, flags):
    code, error = error_of(Runner(runner_command, "http://127.0.0.1:9/video", *flags))
    assert code == 2 and flags[0] in error and "where its stream or pipeline is made" in error


def test_a_network_camera_that_never_answers_ends_on_a_signal(runner_command, server_type):
    with server_type(silent=True) as server:
        running = Runner(runner_command, server.url, "--camera-timeout", 600)
        while not server.clients:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.01)
        running.terminate()
        assert running.finish()[0] == 0
