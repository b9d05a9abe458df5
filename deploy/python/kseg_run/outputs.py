"""Where predictions go: image files, a video, mask files, a window, JSON lines."""

import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from kseg_run.errors import InputError
from kseg_run.frame_pipeline import Prediction
from kseg_run.lane_measures import LaneMeasures
from kseg_run.overlay import draw, put_status
from kseg_run.video_file import set_frame_times

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


class Output(Protocol):
    """Receives predictions. str() gives its line in the summary."""

    closed: bool  # the user wants to end the run
    problem: str  # set by close(): what could not be written, one line

    def put(self, prediction: Prediction) -> None: ...

    def close(self) -> None: ...


class FileOutput:
    """Writes overlays as PNG, or as one video when a frame rate is given, and masks as PNG.

    A video's frames have the times of the input's, also where some were dropped.
    """

    closed, problem = False, ""

    def __init__(
        self,
        folder: Path,
        video_rate: float | None,
        source: Path,
        contract: dict,
        *,
        overlays: bool = True,
        save_masks: bool = False,
    ):
        self.folder, self.rate, self.contract = folder, video_rate, contract
        self.overlays, self.save_masks = overlays, save_masks
        self._writer: Any = None  # cv2.VideoWriter
        self._video_size: tuple[int, int] | None = None  # (width, height)
        self._videos: list[Path] = []
        self._times_s = array("d")  # Of the frames in the open video.
        self._count = 0
        try:
            (folder / "masks" if save_masks else folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            is_file = isinstance(error, (FileExistsError, NotADirectoryError))
            reason = "is a file, not a folder" if is_file else error.strerror
            raise InputError(f"--out {folder}: {reason}") from error
        source = source.resolve()
        if source.exists() and folder.resolve() in (source, source.parent):
            # An overlay has the name of its input and would overwrite it.
            raise InputError(f"--out {folder}: contains the input; choose another folder")

    def put(self, prediction: Prediction) -> None:
        name = prediction.frame.name
        if self.overlays:
            image = draw(prediction.frame.image, prediction.class_map, self.contract)
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            if self.rate is None:
                self._write_image(self.folder / f"{name}.png", bgr)
            else:
                self._video_writer(name, bgr, self.rate).write(bgr)
                self._times_s.append(prediction.frame.time_s or 0)
        if self.save_masks:
            mask = name if self.rate is None else f"{name}-{self._count:06d}"
            self._write_image(self.folder / "masks" / f"{mask}.png", prediction.class_map)
        self._count += 1

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer, path = None, self._videos[-1]
        times_s, self._times_s = self._times_s, array("d")
        # Opened again, because OpenCV's writer does not report a full disk.
        if not cv2.VideoCapture(str(path)).isOpened():
            self.problem = f"{path}: the video is incomplete; is the disk full?"
            return
        try:
            set_frame_times(path, times_s, self.rate or 0)
        except OSError as error:
            self.problem = f"{path}: {error.strerror}"

    def _video_writer(self, name: str, image: np.ndarray, rate: float) -> Any:
        size = (image.shape[1], image.shape[0])
        if self._video_size != size:  # A camera may come back with another size; a video has one.
            self.close()
            number = len(self._videos) + 1
            path = self.folder / (f"{name}.mp4" if number == 1 else f"{name}-{number}.mp4")
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(path), codec, rate, size)
            if not writer.isOpened():
                raise InputError(f"{path}: cannot be written as a video; choose another --out")
            self._writer, self._video_size = writer, size
            self._videos.append(path)
        return self._writer

    @staticmethod
    def _write_image(path: Path, image: np.ndarray) -> None:
        if not cv2.imwrite(str(path), image):
            raise InputError(f"{path}: cannot be written; choose another --out")

    def __str__(self) -> str:
        if not self.overlays:
            return f"masks in {self.folder / 'masks'}"
        return f"overlays in {', '.join(map(str, self._videos)) or self.folder}"


class Window:
    """Shows overlays on the screen until q or Esc; images stay until a key is pressed.

    status(): text for the lower left.
    """

    problem = ""

    def __init__(self, contract: dict, *, wait_for_key: bool, status: Callable[[], str]):
        if not any(os.environ.get(name) for name in SCREENS):  # Qt would abort the process.
            raise InputError(f"--show: no screen (none of {', '.join(SCREENS)} is set)")
        self.contract, self._status, self._wait_for_key = contract, status, wait_for_key
        self.closed = False

    def put(self, prediction: Prediction) -> None:
        image = draw(prediction.frame.image, prediction.class_map, self.contract)
        put_status(image, self._status())
        try:
            cv2.imshow("kseg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            key = cv2.waitKey(0 if self._wait_for_key else 1)
        except cv2.error as error:
            raise InputError(f"--show: cannot open a window ({error.err})") from error
        self.closed = key & 0xFF in (27, ord("q"))

    def close(self) -> None:
        with suppress(cv2.error):  # When no window could be opened.
            cv2.destroyAllWindows()

    def __str__(self) -> str:
        return "shown on screen"


class JsonLines:
    """Writes one JSON object per prediction and line, to a file or ("-") to stdout.

    frame: number among all frames that arrived, from 0, so that gaps show; name; time_s: since the
    first frame, null for images; latency_ms: from frame to class map; age_ms: since the camera
    took the frame, or it was read; dropped: frames dropped so far; gpu_check: the last comparison
    of GPU and CPU; device: which of them the frame ran on; and the measures of
    kseg_run.lane_measures.
    """

    closed, problem = False, ""

    def __init__(
        self,
        path: str | Path,
        measures: LaneMeasures,
        dropped: Callable[[], tuple[int, int]],
        gpu_check: Callable[[], dict[str, Any] | None] | None = None,
        device: Callable[[], str] = lambda: "CPU",
    ):
        self.path, self._measures, self._dropped = path, measures, dropped
        self._gpu_check, self._device = gpu_check, device
        try:
            self._file = sys.stdout if path == "-" else Path(path).open("w")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"--json {path}: {error.strerror}") from error

    def put(self, prediction: Prediction) -> None:
        frame = prediction.frame
        record = {
            "frame": frame.number,
            "name": frame.name,
            "time_s": frame.time_s and round(frame.time_s, 4),
            "latency_ms": round(prediction.latency_ms, 3),
            "age_ms": round(1000 * (time.monotonic() - prediction.captured), 3),
            "dropped": sum(self._dropped()),
            "gpu_check": self._gpu_check() if self._gpu_check else None,
            "device": self._device(),
            **self._measures(prediction.class_map),
        }
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()  # For a reader that follows along, and after a crash.
        except OSError as error:
            if self._file is sys.stdout:  # Python would flush again at exit and print a traceback.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            raise InputError(f"--json {self.path}: {error.strerror}") from error

    def close(self) -> None:
        if self._file is not sys.stdout:
            self._file.close()

    def __str__(self) -> str:
        return f"JSON lines in {self.path}"
