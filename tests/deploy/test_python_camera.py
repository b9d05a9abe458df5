"""kseg_run.camera: cameras that are lost, come back, or deliver corrupt frames."""

import itertools
import os
import re
import threading
import time

import cv2
import numpy as np
import pytest
from kseg_run import camera, camera_capture, command, sources
from kseg_run.camera_capture import CameraOptions
from kseg_run.errors import DeviceLostError, InputError


class FakeCapture:
    """A cv2.VideoCapture of a list: a number is a frame of that grey, None a corrupt frame."""

    def __init__(self, frames, *, opens=True):
        self._frames, self._opens, self.released = iter(frames), opens, False
        self.camera = None  # [the camera] once it exists, if its first frames must not be lost

    def isOpened(self):
        return self._opens

    def get(self, what):
        return 0.0

    def grab(self):
        assert not self.released
        while self.camera is not None and not any(c._reader._wanted for c in self.camera):
            time.sleep(0.001)  # Earlier frames would be discarded.
        self._now = next(self._frames, "end")
        return self._now != "end"

    def retrieve(self):
        if self._now is None:
            return False, None
        return True, np.full((4, 6, 3), (self._now, 0, 0), np.uint8)  # BGR

    def set(self, what, value):
        return False

    def release(self):
        self.released = True


class FakeClock:
    """Time passes only in wait()."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


def open_camera(*captures, name="0", **options):
    clock, remaining, lines = FakeClock(), list(captures), []
    for capture in captures[:1]:
        capture.camera = []
    source = camera.Camera(
        name,
        CameraOptions(**options),
        open_capture=lambda *arguments: remaining.pop(0),
        clock=clock,
        wait=clock.wait,
        log=lines.append,
    )
    captures[0].camera.append(source)
    return source, lines


def greys(frames):
    return [None if f.image is None else int(f.image[0, 0, 2]) for f in frames]


def test_a_lost_camera_that_comes_back_continues():
    first, last = FakeCapture([1, 2]), FakeCapture([3, 4])
    absent = [FakeCapture([], opens=False), FakeCapture([])]
    source, lines = open_camera(first, *absent, last)
    frames = list(itertools.islice(source, 4))
    assert greys(frames) == [1, 2, 3, 4] and [f.number for f in frames] == [0, 1, 2, 3]
    assert [f.first for f in frames] == [True, False, True, False]
    assert source.times_lost == 1 and all(c.released for c in (first, *absent)) and source.live
    assert len(lines) == 2
    assert re.search(r"^0: camera lost.* 60 s", lines[0])
    assert re.search(rf"^0: camera back.* {2 * camera.RETRY_S:.1f} s", lines[1])


def test_a_camera_that_stays_lost_ends_the_iteration_with_one_line():
    lost = [FakeCapture([]) for _ in range(5)]
    source, _ = open_camera(FakeCapture([1]), *lost, reconnect_s=4 * camera.RETRY_S)
    frames = iter(source)
    assert greys([next(frames)]) == [1]
    with pytest.raises(DeviceLostError, match=r"^0: .* 2 s$"):
        next(frames)
    assert all(c.released for c in lost)


def test_a_corrupt_frame_is_reported_and_does_not_mean_a_lost_camera():
    source, lines = open_camera(FakeCapture([1, None, 3]))
    frames = list(itertools.islice(source, 3))
    assert greys(frames) == [1, None, 3] and source.times_lost == 0 and lines == []
    assert re.search(r"^0: frame 1 .*decoded", frames[1].problem)


def test_stop_ends_a_reconnect_at_once():
    source, _ = open_camera(FakeCapture([1]), FakeCapture([]), FakeCapture([]))
    frames = iter(source)
    next(frames)
    source._wait = lambda seconds: source.stop()
    assert list(frames) == []


def test_numbers_device_paths_csi_ports_and_pipelines_name_cameras():
    arguments = camera_capture.capture_arguments
    assert arguments("0") == ("/dev/video0", cv2.CAP_V4L2)
    assert arguments("/dev/video2") == ("/dev/video2", cv2.CAP_V4L2)
    pipeline = "v4l2src ! videoconvert ! appsink"
    assert arguments(pipeline) == (pipeline, cv2.CAP_GSTREAMER)
    text, backend = arguments("csi:1")
    assert "sensor-id=1 " in text and "(memory:NVMM) !" in text and backend == cv2.CAP_GSTREAMER
    text, _ = arguments("csi:1", CameraOptions(size=(1280, 720), rate=60))
    assert "(memory:NVMM),width=1280,height=720,framerate=60/1 !" in text
    for url in ("rtsp://10.0.0.7/x", "http://cam/video", "https://cam/video"):
        assert arguments(url)[:2] == (url, cv2.CAP_FFMPEG)
    for other in ("drive.mp4", "csi:", "csi:front", "a!b.mp4", "-1", "file://x"):
        assert arguments(other) is None


def test_missing_gstreamer_and_a_missing_camera_are_input_errors(monkeypatch):
    monkeypatch.setattr(camera_capture, "has_gstreamer", lambda: False)
    with pytest.raises(InputError, match=r"csi:0: .*GStreamer"):
        sources.open_source("csi:0")
    with pytest.raises(InputError, match=r"/dev/shm/x: .*camera"):
        open_camera(FakeCapture([], opens=False), name="/dev/shm/x")
    with pytest.raises(InputError, match=r"/dev/video99: no such camera"):
        open_camera(FakeCapture([], opens=False), name="/dev/video99")


def test_passwords_of_streams_are_not_shown():
    shown = camera_capture.shown_source
    assert shown("rtsp://admin:p@ss@10.0.0.7/x@1") == "rtsp://***@10.0.0.7/x@1"
    assert shown("http://cam/x@1") == "http://cam/x@1" and shown("a@b ! appsink") == "a@b ! appsink"


@pytest.mark.parametrize(
    ("name", "options", "flag"),
    [
        ("http://cam/x", {"format": "MJPG"}, "--camera-format"),
        ("csi:0", {"format": "MJPG"}, "--camera-format"),
        ("rtsp://cam/x", {"size": (640, 480)}, "--camera-size"),
        ("v4l2src ! appsink", {"rate": 5.0}, "--camera-fps"),
    ],
)
def test_what_a_camera_cannot_be_asked_for_is_refused(name, options, flag):
    with pytest.raises(InputError, match=f"{flag}.*V4L2"):
        open_camera(name=name, **options)


def test_the_process_ends_at_once_while_a_capture_thread_hangs(monkeypatch):
    ended = []  # os._exit(): Python's shutdown would abort if the thread came back during it.
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(command, "main", lambda: 2)
    release = threading.Event()
    hanging = camera._Reader(release.wait)
    with pytest.raises(SystemExit):  # What follows where _exit() returns.
        command.run_and_exit()
    release.set()
    hanging.thread.join()
    assert ended == [2]
    monkeypatch.setattr(command, "capture_thread_hangs", lambda: False)
    with pytest.raises(SystemExit) as ordinary:
        command.run_and_exit()
    assert ended == [2] and ordinary.value.code == 2
