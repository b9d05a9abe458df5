"""Video files: which way is up, when each frame is shown, and the frames' times in a written MP4.

Predict and both runners follow these rules. deploy/python has a copy of this file,
deploy/cpp/run/video_file.cc is its twin, and one test compares all of them.

Orientation: versions of OpenCV turn frames by themselves, or not, or the wrong way. They are kept
from it here, and the rotation that an MP4 or MOV file declares (the matrices of mvhd and tkhd,
ISO/IEC 14496-12, 8.2.2 and 8.3.2) is applied. Files of other formats are taken as they are stored.

Times: those of the file, from 0 at its first frame, so that variable rates and cut clips keep their
pace. Where OpenCV has none, a frame follows its predecessor at the file's rate.

Motion JPEG: FFmpeg fills a truncated frame with a part of the frame before it. So the JPEG files
are asked for, and checked and decoded as image files are; one that is corrupt is no frame.
"""

import math
import os
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

import cv2
import numpy as np

from kseg.image_file import ImageFileError, decode_jpeg_frame, turn_upright

DEFAULT_RATE = 25.0  # Frames per second, for files that do not say.
# As fourcc_text gives them; the last: OpenCV 4.6 for a stream.
JPEG_FORMATS = ("MJPG", "mjpg", "JPEG", "jpeg", "mjpe")
TICKS = 10_000  # Per second, for written frame times.
MAX_HEADER = 1 << 28  # Bytes; a larger moov box is corrupt.
# (a, b, c, d) of x' = ax + cy, y' = bx + dy by their signs -> EXIF orientation.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
    (0, 0, 0, 0): 1,  # Left empty by some writers.
}


class VideoFileError(ValueError):
    """A file that cannot be used; the message is the reason, without the path."""


class VideoFile:
    """An open video. Raises VideoFileError when it cannot be opened.

    rate: frames per second. size: (height, width) as people see it. declared: number of frames by
    the header, which may be a guess; 0 if it does not say. time_s: of the frame last grabbed,
    decoded or not.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise VideoFileError("cannot be opened as a video")
        self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._orientation = read_orientation(path)
        rate = self._video.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and rate > 0 else DEFAULT_RATE
        self.declared = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        sides = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        height, width = (int(self._video.get(side)) for side in sides)
        self.size = (width, height) if self._orientation >= 5 else (height, width)
        self.time_s = -1 / self.rate
        self._offset_s: float | None = None
        pixels = fourcc_text(self._video.get(cv2.CAP_PROP_FOURCC))
        self._jpeg = (
            pixels in JPEG_FORMATS
            and _first_jpeg_is(path, (height, width))
            and self._video.set(cv2.CAP_PROP_FORMAT, -1)
        )

    def grab(self) -> bool:
        """Takes the next frame. Returns False when it cannot be decoded, or there is none."""
        grabbed = self._video.grab()
        expected_s = self.time_s + 1 / self.rate
        if grabbed:
            at_s = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self._offset_s is None:
                self._offset_s = at_s - expected_s
            at_s -= self._offset_s
            expected_s = at_s if self.time_s < at_s < math.inf else expected_s
        self.time_s = expected_s
        return grabbed

    def retrieve(self) -> np.ndarray | None:
        """Returns the frame just grabbed as people see it, (h, w, 3) uint8 RGB; None if corrupt."""
        ok, image = self._video.retrieve()
        if not ok:
            return None
        try:
            bgr = decode_jpeg_frame(image.tobytes()) if self._jpeg else image
        except ImageFileError:
            return None
        return turn_upright(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self._orientation)

    def release(self) -> None:
        self._video.release()


def fourcc_text(code: float) -> str:
    """Returns the four characters of OpenCV's number for a format, without those not printable."""
    number = int(code) if code > 0 else 0
    letters = [chr(number >> shift & 255) for shift in range(0, 32, 8)]
    return "".join(letter for letter in letters if " " < letter < "\x7f")


def _first_jpeg_is(path: str | os.PathLike[str], size: tuple[int, int]) -> bool:
    """Whether the first JPEG of a video is a frame of this (height, width), or cannot be decoded.

    An interlaced frame consists of two JPEGs of half its height, which FFmpeg joins.
    """
    video = cv2.VideoCapture(str(path))
    video.set(cv2.CAP_PROP_FORMAT, -1)
    ok, data = video.read()
    video.release()
    try:
        return not ok or decode_jpeg_frame(data.tobytes()).shape[:2] == size
    except ImageFileError:
        return True


def read_orientation(path: str | os.PathLike[str]) -> int:
    """Returns the EXIF orientation, 1 (upright) to 8, of an MP4 or MOV file's first video track.

    1 for files of other formats. Raises VideoFileError for an angle that is not a multiple of 90
    degrees.
    """
    with open(path, "rb") as file:
        _, moov = _find_moov(file)
    movie = track = (1, 0, 0, 1)
    for name, box in _boxes(moov):
        if name == b"mvhd":
            movie = _matrix(box, 48 if box[:1] == b"\1" else 36)
        if name == b"trak" and _child(box, b"mdia", b"hdlr")[8:12] == b"vide":
            header = _child(box, b"tkhd")
            track = _matrix(header, 52 if header[:1] == b"\1" else 40)
            break
    (a, b, c, d), (e, f, g, h) = track, movie
    product = (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)
    signs = tuple((value > 0) - (value < 0) for value in product)
    if signs not in _ORIENTATIONS:
        raise VideoFileError("is turned by an angle that is not a multiple of 90 degrees")
    return _ORIENTATIONS[signs]


def set_frame_times(path: str | os.PathLike[str], times_s: Sequence[float], rate: float) -> None:
    """Gives the frames of an MP4 file, as OpenCV writes it at `rate` per second, these times.

    times_s: rising, one per frame, of any origin. The last frame lasts 1 / rate. A file at this
    rate, or of another layout, is left as it is.
    """
    regular = (abs(t - times_s[0] - n / rate) < 0.5 / rate for n, t in enumerate(times_s))
    if len(times_s) == 0 or all(regular):
        return
    begins = [round(TICKS * (t - times_s[0])) for t in times_s]
    ends = [*begins[1:], begins[-1] + round(TICKS / rate)]
    durations = [max(1, end - begin) for begin, end in zip(begins, ends, strict=True)]
    with open(path, "r+b") as file:
        offset, moov = _find_moov(file)
        if not moov or offset + 8 + len(moov) != os.path.getsize(path):
            return  # Media data after it would move.
        changed = _with_durations(moov, durations)
        if changed is not None:
            file.seek(offset)
            file.write(_box(b"moov", changed))
            file.truncate()


def _with_durations(moov: bytes, durations: list[int]) -> bytes | None:
    tracks = [box for name, box in _boxes(moov) if name == b"trak"]
    header, media = _child(moov, b"mvhd"), (b"mdia", b"mdhd")
    versions = [header, *(_child(tracks[0], *names) for names in ((b"tkhd",), media))]
    if len(tracks) != 1 or any(box[:1] != b"\0" for box in versions):
        return None
    stts = _child(tracks[0], b"mdia", b"minf", b"stbl", b"stts")
    counts = [count for count, _ in struct.iter_unpack(">2I", stts[8:])]
    if sum(counts) != len(durations):
        return None
    runs = [(len(list(group)), ticks) for ticks, group in groupby(durations)]
    table = struct.pack(">2I", 0, len(runs)) + b"".join(struct.pack(">2I", *r) for r in runs)
    movie_ticks = struct.unpack_from(">I", header, 12)[0]
    movie = struct.pack(">I", round(sum(durations) * movie_ticks / TICKS))
    own = struct.pack(">2I", TICKS, sum(durations))
    # name -> (offset, value) within boxes of version 0.
    fields = {b"mvhd": (16, movie), b"tkhd": (20, movie), b"elst": (8, movie), b"mdhd": (12, own)}

    def rewrite(data: bytes) -> bytes:
        out = b""
        for name, box in _boxes(data):
            if name in (b"trak", b"mdia", b"minf", b"stbl", b"edts"):
                box = rewrite(box)
            elif name == b"stts":
                box = table
            elif name in fields:
                at, value = fields[name]
                box = box[:at] + value + box[at + len(value) :]
            out += _box(name, box)
        return out

    return rewrite(moov)


def _find_moov(file: BinaryIO) -> tuple[int, bytes]:
    """Returns (its offset, its content) of the moov box; (0, b"") where there is none."""
    offset, size = 0, os.fstat(file.fileno()).st_size
    while offset + 8 <= size:
        file.seek(offset)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            length, head = int.from_bytes(file.read(8), "big"), 16
        length = length or size - offset
        if length < head or offset + length > size or not name.isalnum():
            return 0, b""
        if name == b"moov":
            return (offset, file.read(length - head)) if length <= MAX_HEADER else (0, b"")
        offset += length
    return 0, b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (name, content) of the boxes in a box."""
    at = 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield name, data[at + 8 : at + length]
        at += length


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _child(data: bytes, *names: bytes) -> bytes:
    """Returns the content of the first box of this path; b"" where there is none."""
    for name in names:
        data = next((box for other, box in _boxes(data) if other == name), b"")
    return data


def _matrix(box: bytes, at: int) -> tuple[int, int, int, int]:
    if len(box) < at + 36:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from(">5i", box, at)
    return a, b, c, d
