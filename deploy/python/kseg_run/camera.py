"""Cameras: a number, /dev/videoN (V4L2), a GStreamer pipeline, or csi:N (Jetson's CSI ports).

A camera may be unplugged, or its driver may fail for a while: it is opened again and again until
frames come or `reconnect_s` have passed.
"""

import sys
import threading
import time

import cv2

from kseg_run.errors import InputError, LostError
from kseg_run.frames import Frame

RETRY_S = 0.5
# Frames arrive as NVIDIA's memory and planes; OpenCV takes BGR. The newest one alone is kept.
CSI = (
    "nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM) ! nvvidconv ! "
    "video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
    "appsink drop=true max-buffers=1"
)


def capture_of(source):
    """Returns what cv2.VideoCapture takes for a camera, as a tuple; None where it names none."""
    if source.isdecimal():
        return (int(source),)
    if source.startswith("/dev/"):
        return (source,)
    if source.startswith("csi:") and source[4:].isdecimal():
        return (CSI.format(number=int(source[4:])), cv2.CAP_GSTREAMER)
    if " ! " in source:
        return (source, cv2.CAP_GSTREAMER)
    return None


class Camera:
    """Frames of a live camera.

    Iterating raises LostError when no frame has come for reconnect_s seconds. A camera that cannot
    be opened to begin with is an InputError. capture(*what) opens it, clock() tells seconds,
    wait(seconds) waits for the next try, say(line) tells people: tests have their own.
    """

    live = True

    def __init__(
        self, source, *, reconnect_s=60, capture=None, clock=time.monotonic, wait=None, say=None
    ):
        self._source, self._reconnect_s = source, reconnect_s
        self._what, self._capture = capture_of(source), capture or cv2.VideoCapture
        self._stop = threading.Event()
        self._clock, self._wait = clock, wait or self._stop.wait
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.lost = 0  # How often it went away.
        if cv2.CAP_GSTREAMER in self._what[1:] and not has_gstreamer():
            raise InputError(
                f"{source}: this OpenCV has no GStreamer; use one that has (JetPack's, or "
                "Debian's python3-opencv)"
            )
        self._video = self._capture(*self._what)
        if not self._video.isOpened():
            raise InputError(f"{source}: cannot be opened as a camera")
        self.rate = self._video.get(cv2.CAP_PROP_FPS) or 25

    def __iter__(self):
        number, first, start = 0, True, None
        try:
            while not self._stop.is_set():
                if not self._video.grab():
                    self._find_again()
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
            self._video.release()  # Here: no other thread may while this one reads.

    def stop(self):
        """Ends the iteration, from any thread."""
        self._stop.set()

    def _find_again(self):
        """Opens the camera anew until it has a frame, or until told to stop."""
        gone = self._clock()
        self.lost += 1
        self._say(f"{self._source}: camera lost; trying again for {self._reconnect_s:g} s")
        while not self._stop.is_set():
            self._video.release()
            self._video = self._capture(*self._what)
            if self._video.isOpened() and self._video.grab():
                self._say(f"{self._source}: camera back after {self._clock() - gone:.1f} s")
                return
            if self._clock() - gone >= self._reconnect_s:
                raise LostError(f"{self._source}: no frame for {self._reconnect_s:g} s")
            self._wait(RETRY_S)


def has_gstreamer():
    return cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
