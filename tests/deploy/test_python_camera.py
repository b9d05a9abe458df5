"""kseg_run.camera: cameras that go away, come back, or send torn frames."""

import itertools

import cv2
import numpy as np
import pytest
from kseg_run import camera, sources
from kseg_run.errors import InputError, LostError


class Capture:
    """cv2.VideoCapture over a list: numbers are frames of that grey, None a torn one."""

    def __init__(self, frames, *, opens=True):
        self._frames, self._opens, self.released = iter(frames), opens, False

    def isOpened(self):
        return self._opens

    def get(self, what):
        return 0.0

    def grab(self):
        assert not self.released
        self._now = next(self._frames, "end")
        return self._now != "end"

    def retrieve(self):
        if self._now is None:
            return False, None
        return True, np.full((4, 6, 3), (self._now, 0, 0), np.uint8)  # BGR

    def release(self):
        self.released = True


class Clock:
    """Time passes only while somebody waits."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


def open_camera(*captures, **options):
    clock, left, told = Clock(), list(captures), []
    source = camera.Camera(
        "0",
        capture=lambda *what: left.pop(0),
        clock=clock,
        wait=clock.wait,
        say=told.append,
        **options,
    )
    return source, told


def greys(frames):
    return [None if f.image is None else int(f.image[0, 0, 2]) for f in frames]


def test_a_camera_that_goes_away_and_comes_back_goes_on():
    first, last = Capture([1, 2]), Capture([90, 3, 4])  # 90 is spent on finding it again.
    absent = [Capture([], opens=False), Capture([])]
    source, told = open_camera(first, *absent, last)
    frames = list(itertools.islice(source, 4))
    assert greys(frames) == [1, 2, 3, 4] and [f.number for f in frames] == [0, 1, 2, 3]
    assert [f.first for f in frames] == [True, False, True, False]
    assert source.lost == 1 and all(c.released for c in (first, *absent)) and source.live
    assert told == [
        "0: camera lost; trying again for 60 s",
        f"0: camera back after {2 * camera.RETRY_S:.1f} s",
    ]


def test_a_camera_that_stays_away_ends_it_with_one_line():
    away = [Capture([]) for _ in range(5)]
    source, _ = open_camera(Capture([1]), *away, reconnect_s=4 * camera.RETRY_S)
    frames = iter(source)
    assert greys([next(frames)]) == [1]
    with pytest.raises(LostError, match=r"^0: no frame for 2 s$"):
        next(frames)
    assert all(c.released for c in away)


def test_a_torn_frame_is_told_and_is_no_lost_camera():
    source, told = open_camera(Capture([1, None, 3]))
    frames = list(itertools.islice(source, 3))
    assert greys(frames) == [1, None, 3] and source.lost == 0 and told == []
    assert frames[1].problem == "0: frame 1 cannot be decoded"


def test_stopped_while_the_camera_is_away_it_gives_up_at_once():
    source, _ = open_camera(Capture([1]), Capture([]), Capture([]))
    frames = iter(source)
    next(frames)
    source._wait = lambda seconds: source.stop()
    assert list(frames) == []


def test_what_names_a_camera():
    assert camera.capture_of("0") == (0,)
    assert camera.capture_of("/dev/video2") == ("/dev/video2",)
    pipeline = "v4l2src ! videoconvert ! appsink"
    assert camera.capture_of(pipeline) == (pipeline, cv2.CAP_GSTREAMER)
    text, backend = camera.capture_of("csi:1")
    assert "sensor-id=1 " in text and backend == cv2.CAP_GSTREAMER
    for other in ("drive.mp4", "csi:", "csi:front", "a!b.mp4", "-1"):
        assert camera.capture_of(other) is None


def test_a_pipeline_without_gstreamer_and_an_absent_camera_are_one_line(monkeypatch):
    monkeypatch.setattr(camera, "has_gstreamer", lambda: False)
    with pytest.raises(InputError, match="csi:0: this OpenCV has no GStreamer; use one that has"):
        sources.open_source("csi:0")
    with pytest.raises(InputError, match="0: cannot be opened as a camera"):
        open_camera(Capture([], opens=False))
