"""Cameras, which may hang, be unplugged, or fail for a while.

A number or /dev/videoN (V4L2), csi:N (a Jetson's CSI ports), a GStreamer pipeline, or a stream from
the network (rtsp://, http://). A camera that delivers no frame is reopened again and again until
frames arrive or `reconnect_s` have passed.
"""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import cv2
import numpy as np

from kseg_run.camera_capture import (
    DEFAULT_RATE,
    CameraCapture,
    CameraOptions,
    check_camera,
    shown_source,
)
from kseg_run.errors import DeviceLostError, InputError, log_to_stderr
from kseg_run.frames import Frame

RETRY_S = 0.5
THREAD_NAME = "camera"
RELEASE_S = 5  # A thread that does not end within this time hangs, and is abandoned.
STEP_S = 0.2


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
        options: CameraOptions | None = None,
        *,
        open_capture: Callable[..., Any] = cv2.VideoCapture,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] | None = None,
        log: Callable[[str], None] = log_to_stderr,
    ):
        self._options = options or CameraOptions()
        check_camera(source, self._options)
        self._shown, self._stop = shown_source(source), threading.Event()
        self._clock, self._wait, self._log = clock, wait or self._stop.wait, log
        self._open = lambda: CameraCapture(
            source, self._options, open_capture=open_capture, clock=clock, log=log
        )
        self.times_lost = 0
        self._reader = _Reader(self._open)
        limit_s = self._options.timeout_s
        self._reader.wait_for(lambda: self._reader.capture or self._reader.ended, limit_s)
        capture = self._reader.capture
        if capture is None:
            if self._reader.error:
                raise self._reader.error
            raise InputError(
                f"{self._shown}: did not open within {limit_s:g} s; the driver or the server hangs "
                "(--camera-timeout)"
            )
        self.rate: float | None = capture.rate or DEFAULT_RATE
        self.description = capture.description

    def __iter__(self) -> Generator[Frame]:
        number, first, start = 0, True, None
        try:
            while not self._stop.is_set():
                item = self._take()
                if item is None:
                    self._reconnect()
                    first = True
                    continue
                captured, image = item
                start = captured if start is None else start
                frame = Frame(number, "camera", image, "", captured - start, first, captured)
                if image is None:
                    problem = f"{self._shown}: frame {number} cannot be decoded"
                    yield frame._replace(problem=problem, first=False)
                else:
                    yield frame
                    first = False
                number += 1
        finally:
            self._reader.stop()
            self._reader.thread.join(RELEASE_S)

    def stop(self) -> None:
        """Ends the iteration. May be called from any thread."""
        self._stop.set()

    def _take(self) -> "tuple[float, np.ndarray | None] | None":
        """Returns the next frame; None when none arrives in time, or stop() is called."""
        deadline = time.monotonic() + self._options.timeout_s
        while not self._stop.is_set() and time.monotonic() < deadline:
            item = self._reader.take(STEP_S)
            if item is not None or self._reader.ended:
                return item
        return None

    def _reconnect(self) -> None:
        """Reopens the camera until it delivers a frame or stop() is called.

        While its thread hangs in a driver, it waits for that: a second one would hang there too.
        """
        if self._stop.is_set():
            return
        lost_at, limit_s = self._clock(), self._options.reconnect_s
        self.times_lost += 1
        self._log(f"{self._shown}: camera lost; trying again for {limit_s:g} s")
        while not self._stop.is_set():
            if self._reopened(lost_at + limit_s - self._clock()):
                self._log(f"{self._shown}: camera back after {self._clock() - lost_at:.1f} s")
                return
            if self._clock() - lost_at >= limit_s:
                raise DeviceLostError(f"{self._shown}: no frame for {limit_s:g} s")
            self._wait(RETRY_S)

    def _reopened(self, left_s: float) -> bool:
        """Opens the camera again, once its thread has ended. Returns whether it delivers frames."""
        self._reader.stop()
        if not self._reader.ended:
            return False
        if self._reader.error and not isinstance(self._reader.error, InputError):
            raise self._reader.error
        reader = self._reader = _Reader(self._open, wanted=True)
        deadline = time.monotonic() + min(2 * self._options.timeout_s, max(left_s, 1.0))
        while not self._stop.is_set() and time.monotonic() < deadline:
            if reader.wait_for(lambda: reader.item or reader.ended, STEP_S):
                break
        if reader.item is None or reader.capture is None:
            return False
        self.description = reader.capture.description
        return True


def capture_thread_hangs() -> bool:
    """Whether the thread of a camera that is no longer used has not ended."""
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())


class _Reader:
    """One opening of a camera, in a thread of its own, because any call may hang.

    Frames are discarded until take() is called, and wait for take() from then on. So a camera is
    not read late because a model takes its time to load.
    """

    def __init__(self, open_capture: Callable[[], CameraCapture], *, wanted: bool = False):
        self._open, self._changed = open_capture, threading.Condition()
        self._wanted, self._stop = wanted, False
        self.capture: CameraCapture | None = None
        self.item: tuple[float, np.ndarray | None] | None = None
        self.error: BaseException | None = None
        self.ended = False
        self.thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self.thread.start()

    def wait_for(self, ready: Callable[[], Any], limit_s: float) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(ready, limit_s))

    def take(self, limit_s: float) -> tuple[float, np.ndarray | None] | None:
        """Returns (when it was captured, RGB or None) of the next frame; None if there is none."""
        with self._changed:
            self._wanted = True
            self._changed.wait_for(lambda: self.item or self.ended, limit_s)
            item, self.item = self.item, None
            self._changed.notify_all()
        if item is None and self.error and not isinstance(self.error, InputError):
            raise self.error
        return item

    def stop(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            capture = self._open()
            try:
                with self._changed:
                    self.capture = capture
                    self._changed.notify_all()
                while not self._stop and self._read(capture):
                    pass
            finally:
                capture.release()  # In this thread: no other may while this one reads.
        except BaseException as error:  # Raised again in the caller's thread.
            self.error = error
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _read(self, capture: CameraCapture) -> bool:
        """Hands over the next frame. Returns False when the camera delivers none."""
        captured = capture.grab()
        if captured is not None and self._wanted:
            item = (captured, capture.retrieve())
            with self._changed:
                self._changed.wait_for(lambda: self.item is None or self._stop)
                self.item = item
                self._changed.notify_all()
        return captured is not None
