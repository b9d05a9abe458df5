"""Where answers go: picture files, a video, PNG masks, a window, lines of JSON.

An output has put(answer), close(), `closed` (somebody wants to end), `problem` (once closed: what
could not be written, in one line) and str() for the summary.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2

from kseg_run.drawing import draw, write_status
from kseg_run.errors import InputError

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


class Files:
    """Writes pictures as PNG, or as one video when a frame rate is given, and class ids as PNG."""

    closed, problem = False, ""

    def __init__(self, folder, video_rate, source, contract, *, overlays=True, save_masks=False):
        self.folder, self.rate, self.contract = folder, video_rate, contract
        self.overlays, self.save_masks = overlays, save_masks
        self.writer, self.size, self.written, self.count = None, None, [], 0
        try:
            (folder / "masks" if save_masks else folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {folder}: {error.strerror}") from error
        source = source.resolve()
        if source.exists() and folder.resolve() in (source, source.parent):
            # A folder of its own: an overlay has the name of its input and would replace it.
            raise InputError(f"--out {folder}: holds the input; choose another folder")

    def put(self, answer):
        name = answer.frame.name
        if self.overlays:
            picture = draw(answer.frame.image, answer.class_map, self.contract)
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            if self.rate is None:
                self._write(self.folder / f"{name}.png", bgr)
            else:
                self._writer(name, bgr).write(bgr)
        if self.save_masks:
            mask = name if self.rate is None else f"{name}-{self.count:06d}"
            self._write(self.folder / "masks" / f"{mask}.png", answer.class_map)
        self.count += 1

    def close(self):
        if self.writer is None:
            return
        self.writer.release()
        self.writer, path = None, self.written[-1]
        # Read again: OpenCV's writer does not tell that the disk is full.
        if not cv2.VideoCapture(str(path)).isOpened():
            self.problem = f"{path}: could not be written to its end; is the disk full?"

    def _writer(self, name, frame):
        size = (frame.shape[1], frame.shape[0])
        if self.size != size:  # A camera may come back with another size: a video has only one.
            self.close()
            number = len(self.written) + 1
            path = self.folder / (f"{name}.mp4" if number == 1 else f"{name}-{number}.mp4")
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(path), codec, self.rate, size)
            if not writer.isOpened():
                raise InputError(f"{path}: video cannot be written there; choose another --out")
            self.writer, self.size = writer, size
            self.written.append(path)
        return self.writer

    @staticmethod
    def _write(path, image):
        if not cv2.imwrite(str(path), image):
            raise InputError(f"{path}: cannot be written; choose another --out")

    def __str__(self):
        if not self.overlays:
            return f"masks in {self.folder / 'masks'}"
        return f"overlays in {', '.join(map(str, self.written)) or self.folder}"


class Window:
    """Shows pictures on the screen until q or Esc; images stay until a key is pressed.

    status(answer) -> the line at the lower left.
    """

    problem = ""

    def __init__(self, contract, *, stay, status):
        if not any(os.environ.get(name) for name in SCREENS):  # Qt would abort the process.
            raise InputError(f"--show: no screen here (none of {', '.join(SCREENS)} is set)")
        self.contract, self.status = contract, status
        self.closed, self.stay = False, stay

    def put(self, answer):
        picture = draw(answer.frame.image, answer.class_map, self.contract)
        write_status(picture, self.status(answer))
        try:
            cv2.imshow("kseg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            key = cv2.waitKey(0 if self.stay else 1)
        except cv2.error as error:
            raise InputError(f"--show: no window can be opened here ({error.err})") from error
        self.closed = key & 0xFF in (27, ord("q"))

    def close(self):
        with suppress(cv2.error):  # Where none could be opened either.
            cv2.destroyAllWindows()

    def __str__(self):
        return "shown on screen"


class JsonLines:
    """One JSON object a line for each answered frame, to a file or ("-") to stdout.

    frame: number among all frames that came, from 0, so that gaps show; name; time_s: since the
    first frame, null for images; latency_ms: from frame to class map; age_ms: since the frame came;
    dropped: frames dropped so far; and what kseg_run.measure.Measure tells.
    """

    closed, problem = False, ""

    def __init__(self, path, measure, dropped):
        self.path, self.measure, self.dropped = path, measure, dropped
        try:
            self.file = sys.stdout if path == "-" else Path(path).open("w")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"--json {path}: {error.strerror}") from error

    def put(self, answer):
        frame = answer.frame
        told = {
            "frame": frame.number,
            "name": frame.name,
            "time_s": frame.time_s and round(frame.time_s, 4),
            "latency_ms": round(answer.latency_ms, 3),
            "age_ms": round(1000 * (time.perf_counter() - answer.captured), 3),
            "dropped": sum(self.dropped()),
            **self.measure(answer.class_map),
        }
        try:
            self.file.write(json.dumps(told) + "\n")
            self.file.flush()  # Who reads along, or comes after a crash, has all of it.
        except OSError as error:
            if self.file is sys.stdout:  # Python would try again at its end, and say so at length.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
            raise InputError(f"--json {self.path}: {error.strerror}") from error

    def close(self):
        if self.file is not sys.stdout:
            self.file.close()

    def __str__(self):
        return f"numbers in {self.path}"
