"""One opening of a camera with OpenCV. Every call may hang in a driver or wait for a network."""

import math
import os
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg_run import image_file
from kseg_run.errors import InputError
from kseg_run.v4l2_node import v4l2_path, why_v4l2_fails
from kseg_run.video_file import JPEG_FORMATS, fourcc_text

DEFAULT_RATE = 25  # frames per second, for sources that do not report theirs
OLDEST_FRAME_S = 60  # A driver's timestamp further back is of another clock.
STREAM = re.compile(r"(rtsps?|https?)://")
OPEN_TIMEOUT_MSEC, READ_TIMEOUT_MSEC = 53, 54  # cv2.CAP_PROP_*; not named by all versions.
# NVIDIA's camera source delivers planar frames in its own memory; OpenCV needs BGR. appsink keeps
# only the newest frame.
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM){caps} ! nvvidconv ! "
    "video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
    "appsink drop=true max-buffers=1"
)


class CameraOptions(NamedTuple):
    """What a camera is asked for, and how long to wait for it."""

    reconnect_s: float = 60  # for a lost camera
    timeout_s: float = 10  # for opening, and then for each frame
    size: tuple[int, int] | None = None  # (width, height); None: as the camera is set
    rate: float | None = None  # frames per second
    format: str = ""  # four characters, such as MJPG; "": OpenCV's choice

    def asks(self) -> bool:
        return bool(self.size or self.rate or self.format)


def capture_arguments(source: str, options: CameraOptions | None = None) -> tuple | None:
    """Returns cv2.VideoCapture's arguments for a camera; None if `source` does not name one."""
    options = options or CameraOptions()
    if v4l2_path(source):
        return (v4l2_path(source), cv2.CAP_V4L2)
    if is_csi(source):
        caps = ",width={},height={}".format(*options.size) if options.size else ""
        caps += f",framerate={round(options.rate)}/1" if options.rate else ""
        return (CSI_PIPELINE.format(number=int(source[4:]), caps=caps), cv2.CAP_GSTREAMER)
    if source.startswith("/dev/"):
        return (source,)
    if STREAM.match(source):
        # A little more than the camera's own limit, whose message says what happened.
        limit_ms = int(1000 * min(options.timeout_s, 1e6)) + 500
        limits = [OPEN_TIMEOUT_MSEC, limit_ms, READ_TIMEOUT_MSEC, limit_ms]
        return (source, cv2.CAP_FFMPEG, limits)
    if " ! " in source:
        return (source, cv2.CAP_GSTREAMER)
    return None


def is_csi(source: str) -> bool:
    return source.startswith("csi:") and source[4:].isdecimal()


def shown_source(source: str) -> str:
    """Returns the source for messages, without the user and password of a URL."""
    return re.sub(r"(?<=://)[^/]*@", "***@", source) if STREAM.match(source) else source


def check_camera(source: str, options: CameraOptions) -> None:
    """Raises InputError for options that this camera cannot be asked for."""
    v4l2 = bool(v4l2_path(source))
    elsewhere = "cameras; configure this one where its stream or pipeline is made"
    if options.format and not v4l2:
        raise InputError(f"{shown_source(source)}: --camera-format is for V4L2 {elsewhere}")
    if (options.size or options.rate) and not v4l2 and not is_csi(source):
        raise InputError(
            f"{shown_source(source)}: --camera-size and --camera-fps are for V4L2 and csi "
            f"{elsewhere}"
        )
    uses_gstreamer = is_csi(source) or (" ! " in source and not STREAM.match(source))
    if uses_gstreamer and not has_gstreamer():
        raise InputError(
            f"{source}: this OpenCV was built without GStreamer; use one that has it "
            "(JetPack's, or Debian's python3-opencv)"
        )


def has_gstreamer() -> bool:
    return cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)


class CameraCapture:
    """An open camera. Raises InputError when it cannot be opened.

    Sets what the options ask for, and log()s where the camera gives something else. description:
    what it gave, for example "640x480 MJPG at 30 frames/s". rate: frames per second.
    """

    def __init__(
        self,
        source: str,
        options: CameraOptions,
        *,
        open_capture: Callable[..., Any] = cv2.VideoCapture,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None],
    ):
        self._shown, self._clock, self._log = shown_source(source), clock, log
        self._v4l2, self._stream = bool(v4l2_path(source)), bool(STREAM.match(source))
        # Our one line says why. OpenCV before 4.7 has no such function.
        if "OPENCV_LOG_LEVEL" not in os.environ and hasattr(cv2.utils, "logging"):
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._video = open_capture(*(capture_arguments(source, options) or ()))
        if not self._video.isOpened():
            self._video.release()
            why = "cannot be opened as a camera"
            raise InputError(
                f"{self._shown}: {why_v4l2_fails(v4l2_path(source)) if self._v4l2 else why}"
            )
        self._configure(options)

    def _configure(self, options: CameraOptions) -> None:
        video = self._video
        if self._v4l2 and options.format:
            video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.format))
        if self._v4l2 and options.size:
            video.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
            video.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
        if self._v4l2 and options.rate:
            video.set(cv2.CAP_PROP_FPS, options.rate)
        reported = video.get(cv2.CAP_PROP_FPS)
        known = math.isfinite(reported) and reported > 0
        self.rate: float = reported if known else DEFAULT_RATE
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        size = "x".join(str(int(video.get(side))) for side in sides)
        pixels = fourcc_text(video.get(cv2.CAP_PROP_FOURCC))
        self.description = f"{size}{' ' * bool(pixels)}{pixels} at {self.rate:g} frames/s"
        self.description += "" if known else " (not reported)"
        if options.size:
            self._warn("--camera-size", "{}x{}".format(*options.size), size)
        if options.rate:
            self._warn("--camera-fps", f"{options.rate:g}", f"{self.rate:g}")
        if options.format:
            self._warn("--camera-format", options.format, pixels)
        # In place of a JPEG that is corrupt, OpenCV returns the frame before it, and FFmpeg a part
        # of that; so the files are asked for, and checked and decoded here.
        as_files = (cv2.CAP_PROP_CONVERT_RGB, 0) if self._v4l2 else (cv2.CAP_PROP_FORMAT, -1)
        has_files = (self._v4l2 or self._stream) and pixels in JPEG_FORMATS
        self._jpeg = has_files and bool(video.set(*as_files))

    def _warn(self, flag: str, wanted: str, given: str) -> None:
        if wanted != given:
            self._log(f"{self._shown}: {flag} {wanted}: the camera gives {given}")

    def grab(self) -> float | None:
        """Waits for the next frame. Returns when it was captured; None when the camera is lost.

        The time is the driver's, if it has one, else that of arrival.
        """
        return self._captured() if self._video.grab() else None

    def retrieve(self) -> np.ndarray | None:
        """Returns the frame just grabbed, RGB; None if it cannot be decoded."""
        try:
            ok, image = self._video.retrieve()
            if ok and self._jpeg:
                image = image_file.decode_jpeg_frame(image.tobytes())
        except (cv2.error, image_file.ImageFileError):
            return None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if ok else None

    def _captured(self) -> float:
        now = self._clock()
        if not self._v4l2:
            return now
        # V4L2 stamps frames by CLOCK_MONOTONIC, which is time.monotonic here.
        stamp = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return stamp if 0 <= now - stamp < OLDEST_FRAME_S else now

    def release(self) -> None:
        self._video.release()
