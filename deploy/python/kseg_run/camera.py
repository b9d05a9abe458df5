"""Cameras: a number, /dev/videoN (V4L2), a GStreamer pipeline, or csi:N (a Jetson's CSI ports).

A camera may be unplugged, or its driver may fail for a while. It is then reopened again and again
until frames arrive or `reconnect_s` have passed.
"""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import cv2

from kseg_run.errors import DeviceLostError, InputError, log_to_stderr
from kseg_run.frames import Frame

RETRY_S = 0.5
DEFAULT_RATE = 25  # frames per second, for sources that do not report theirs
# NVIDIA's camera source delivers planar frames in its own memory; OpenCV needs BGR. appsink keeps
# only the newest frame.
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM) ! nvvidconv ! "
    "video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
    "appsink drop=true max-buffers=1"
)


def capture_arguments(source: str) -> tuple | None:
    """Returns cv2.VideoCapture's arguments for a camera; None if `source` does not name one."""
    if source.isdecimal():
        return (int(source),)
    if source.startswith("/dev/"):
        return (source,)
    if source.startswith("csi:") and source[4:].isdecimal():
        return (CSI_PIPELINE.format(number=int(source[4:])), cv2.CAP_GSTREAMER)
    if " ! " in source:
        return (source, cv2.CAP_GSTREAMER)
    return None


class Camera:
    """Yields the Frames of a live camera.

    Raises InputError when it cannot be opened at the start; iterating raises DeviceLostError after
    reconnect_s seconds without a frame. Tests replace open_capture(*arguments), which opens the
    camera, clock() in seconds, wait(seconds) before the next attempt, and log(line).
    """

    live = True

    def __init__(
        self,
        source: str,
        *,
        reconnect_s: float = 60,
        open_capture: Callable[..., Any] = cv2.VideoCapture,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] | None = None,
        log: Callable[[str], None] = log_to_stderr,
    ):
        self._source, self._reconnect_s = source, reconnect_s
        self._arguments, self._open_capture = capture_arguments(source) or (), open_capture
        self._stop = threading.Event()
        self._clock, self._wait, self._log = clock, wait or self._stop.wait, log
        self.times_lost = 0
        if cv2.CAP_GSTREAMER in self._arguments[1:] and not has_gstreamer():
            raise InputError(
                f"{source}: this OpenCV was built without GStreamer; use one that has it "
                "(JetPack's, or Debian's python3-opencv)"
            )
        self._video = self._open_capture(*self._arguments)
        if not self._video.isOpened():
            raise InputError(f"{source}: cannot be opened as a camera")
        self.rate: float | None = self._video.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE

    def __iter__(self) -> Generator[Frame]:
        number, first, start = 0, True, None
        try:
            while not self._stop.is_set():
                if not self._video.grab():
                    self._reconnect()
                    first = True
                    continue
                now = self._clock()
                start = now if start is None else start
                ok, image = self._video.retrieve()
                if ok:
                    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    yield Frame(number, "camera", image, time_s=now - start, first=first)
                    first = False
                else:
                    problem = f"{self._source}: frame {number} cannot be decoded"
                    yield Frame(number, "camera", None, problem, now - start)
                number += 1
        finally:
            self._video.release()  # In this thread: no other may while this one reads.

    def stop(self) -> None:
        """Ends the iteration. May be called from any thread."""
        self._stop.set()

    def _reconnect(self) -> None:
        """Reopens the camera until it delivers a frame or stop() is called."""
        lost_at = self._clock()
        self.times_lost += 1
        self._log(f"{self._source}: camera lost; trying again for {self._reconnect_s:g} s")
        while not self._stop.is_set():
            self._video.release()
            self._video = self._open_capture(*self._arguments)
            if self._video.isOpened() and self._video.grab():
                self._log(f"{self._source}: camera back after {self._clock() - lost_at:.1f} s")
                return
            if self._clock() - lost_at >= self._reconnect_s:
                raise DeviceLostError(f"{self._source}: no frame for {self._reconnect_s:g} s")
            self._wait(RETRY_S)


def has_gstreamer() -> bool:
    return cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
