"""Videos in and out: frames of a file under a progress bar, MP4 and GIF written whole."""

import math
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.files import atomic_write

LONGEST_S = 1e6  # More is a slip of the hand.
END = 250  # Failed reads in succession: a header's count may be a guess, so it cannot tell.
GIF_RATE = 12.5  # Pictures a second at most: more make the file large and nothing clearer.
GIF_PICTURES = 750  # A minute.


class Clip(NamedTuple):
    """An open video and the part of it that is meant. count is None where the file does not say."""

    source: Path
    capture: cv2.VideoCapture
    rate: float  # Frames a second.
    first: int
    count: int | None


def open_clip(source, start=0.0, seconds=None):
    """Opens a video from `start` on, in seconds, for `seconds` at most. Raises InputError."""
    # Not a number is within no bounds.
    if not 0 <= start <= LONGEST_S:
        raise InputError(f"--start {start:g}: expected seconds, from 0 to {LONGEST_S:g}")
    if seconds is not None and not 0 < seconds <= LONGEST_S:
        raise InputError(f"--seconds {seconds:g}: expected seconds, above 0 to {LONGEST_S:g}")
    capture = cv2.VideoCapture(str(source))
    if not capture.isOpened():
        raise InputError(f"{source}: not an image and cannot be opened as a video; is it damaged?")
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if math.isfinite(rate) and rate > 0 else 25.0
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    first = round(start * rate)
    if 0 < total <= first:
        raise InputError(f"{source}: is {total / rate:.1f} s long, --start {start:g} is past it")
    count = total - first if total > 0 else None
    if seconds is not None:
        wanted = max(1, round(seconds * rate))
        count = wanted if count is None else min(count, wanted)
    return Clip(Path(source), capture, rate, first, count)


def frames(clip):
    """Yields the clip's frames, (h, w, 3) uint8 RGB. Raises InputError when there is none.

    A frame that cannot be decoded is skipped, and how many there were is said on stderr at the end.
    Where no frame comes after it any more, it is not damage but the end.
    """
    # Read one by one: seeking lands on another frame in many files.
    failed = 0
    for _ in range(clip.first):
        failed = 0 if clip.capture.grab() else failed + 1
        if failed == END:
            break
    given = skipped = failed = 0
    while failed < END and (clip.count is None or given + skipped + failed < clip.count):
        ok, frame = clip.capture.read()
        if not ok:
            failed += 1
            continue
        given, skipped, failed = given + 1, skipped + failed, 0
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if not given:
        raise InputError(f"{clip.source}: opened as a video but not one frame can be read")
    if skipped:
        line = f"{clip.source}: {given + skipped} frames came: {skipped} not decoded, left out"
        print(line, file=sys.stderr)


class Mp4:
    """A video being written; `with` leaves it whole at `path`, or not at all.

    Raises InputError when it cannot be written.
    """

    def __init__(self, path, rate):
        self.path, self.rate = Path(path), rate
        self._partial = self.path.with_name(f"partial-{self.path.name}")
        self._writer = None

    def add(self, picture):
        """(h, w, 3) uint8 RGB, all of one size."""
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self.rate, size)
            if not self._writer.isOpened():
                raise InputError(
                    f"{self._partial}: video cannot be written there; choose another --out"
                )
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if self._writer is None:
                return
            self._writer.release()
            if kind is not None:
                return
            # Read again: OpenCV's writer does not tell that the disk is full.
            if not cv2.VideoCapture(str(self._partial)).isOpened():
                raise InputError(f"{self.path}: could not be written to its end; is the disk full?")
            self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)


class Gif:
    """An animation being made of a video of `rate` frames a second; `with` writes it whole.

    Of more than GIF_RATE frames a second, every second, third, ... is taken. Raises InputError
    past GIF_PICTURES, which are held in memory until the palette is chosen.
    """

    def __init__(self, path, rate):
        self.path, self.rate = Path(path), rate
        self.every = max(1, math.ceil(rate / GIF_RATE - 1e-6))
        self._frames, self._pictures = 0, []

    def takes(self):
        """Whether the next frame is one that the animation shows."""
        return self._frames % self.every == 0

    def add(self, picture):
        """(h, w, 3) uint8 RGB; None for a frame that it does not take."""
        if self.takes():
            if len(self._pictures) == GIF_PICTURES:
                raise InputError(
                    f"{self.path}: more than {GIF_PICTURES} pictures; choose a part of the video "
                    "by --start and --seconds"
                )
            self._pictures.append(picture)
        self._frames += 1

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None and self._pictures:
            with atomic_write(self.path) as partial:
                write_gif(partial, self._pictures, self.rate / self.every)


def write_gif(path, pictures, rate):
    """Writes (h, w, 3) uint8 RGB pictures of one size as an endless GIF of `rate` a second.

    One palette for all: pictures with palettes of their own flicker where nothing moves, and
    cannot leave out what stays. No dithering, for the same reason. Times are hundredths of a
    second, the format's unit, rounded so that no error adds up.
    """
    from PIL import Image

    chosen = np.unique(np.linspace(0, len(pictures) - 1, 16).round().astype(int))
    sample = Image.fromarray(np.concatenate([pictures[i] for i in chosen]))
    palette = sample.quantize(255, Image.Quantize.MEDIANCUT)  # One is left for "as before".
    images = [
        Image.fromarray(p).quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures
    ]
    ends = [round(100 * (i + 1) / rate) for i in range(len(images))]
    times = [10 * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)]
    images[0].save(
        path, "GIF", save_all=True, append_images=images[1:], duration=times, loop=0, optimize=False
    )
