"""Videos: reading the frames of a file, and writing MP4 and GIF files atomically."""

import contextlib
import itertools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.files import atomic_write
from kseg.video_file import VideoFile, VideoFileError, set_frame_times

MAX_SECONDS = 1e6  # Larger values are typing mistakes.
MAX_FAILED_READS = 250  # In succession. The frame count in a header may be a guess.
GIF_RATE = 12.5  # Frames per second at most: more enlarge the file and add little.
GIF_FRAMES = 750  # A minute.


class Clip(NamedTuple):
    """An open video and the time range of its frames to read."""

    source: Path
    video: VideoFile
    start_s: float
    end_s: float
    frame_count: int | None  # At most; None where the file does not say.

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.video.rate


def open_clip(
    source: str | os.PathLike[str], start: float = 0.0, seconds: float | None = None
) -> Clip:
    """Opens a video from `start` on, in seconds, for `seconds` at most. Raises InputError."""
    # Comparisons with NaN are false, so NaN is refused too.
    if not 0 <= start <= MAX_SECONDS:
        raise InputError(f"--start {start:g}: expected seconds, from 0 to {MAX_SECONDS:g}")
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"--seconds {seconds:g}: expected seconds, above 0 to {MAX_SECONDS:g}")
    try:
        video = VideoFile(source)
    except VideoFileError as error:
        raise InputError(f"{source}: {error}; is it corrupt?") from error
    rate, total = video.rate, video.declared
    first = round(start * rate)
    if 0 < total <= first:
        raise InputError(f"{source}: is {total / rate:.1f} s long, --start {start:g} is past it")
    count = total - first if total > 0 else None
    if seconds is not None:
        most = max(1, round(seconds * rate))
        count = most if count is None else min(count, most)
    end_s = math.inf if seconds is None else start + max(seconds, 1 / rate)
    return Clip(Path(source), video, start, end_s, count)


def frames(clip: Clip) -> Iterator[np.ndarray]:
    """Yields the clip's frames, (h, w, 3) uint8 RGB. Raises InputError when there is none."""
    for _, frame in timed_frames(clip):
        yield frame


def timed_frames(clip: Clip) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the clip's (seconds since the video's first frame, frame as people see it).

    Frames that cannot be decoded are skipped; their number is printed to stderr at the end.
    Failed reads after the last frame are the end of the video, not corrupt frames; where the header
    says that there are more, stderr says so. Its number may be too small: reading ends at the first
    failure from there on, as in the runners.
    """
    # Frames are read one by one, because seeking is inexact in many files.
    video, half_s = clip.video, 0.5 / clip.video.rate
    decoded = skipped = failed = 0
    for number in itertools.count():
        grabbed, in_range = video.grab(), video.time_s >= clip.start_s - half_s
        if video.time_s >= clip.end_s - half_s:
            break
        frame = video.retrieve() if grabbed and in_range else None
        if frame is not None:
            decoded, skipped, failed = decoded + 1, skipped + failed, 0
            yield video.time_s, frame
        elif grabbed and not in_range:
            failed = 0
        else:
            failed += 1
            if failed == MAX_FAILED_READS or 0 < video.declared <= number:
                _report_early_end(clip, number + 1 - failed)
                break
    if not decoded:
        raise InputError(f"{clip.source}: opened as a video but no frame can be read")
    if skipped:
        print(
            f"{clip.source}: skipped {skipped} of {decoded + skipped} frames (not decodable)",
            file=sys.stderr,
        )


def _report_early_end(clip, count):
    if 0 < count < clip.video.declared:
        print(
            f"{clip.source}: ends after {count} frames; its header says {clip.video.declared}",
            file=sys.stderr,
        )


class Mp4Writer:
    """Context manager that writes an MP4 file atomically: the complete file, or none.

    rate: frames per second, of frames added without a time. Raises InputError when it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float):
        self.path, self.rate = Path(path), rate
        self._stack = contextlib.ExitStack()
        self._partial = Path()
        self._writer: cv2.VideoWriter | None = None
        self._times_s: list[float] = []

    def add(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Appends (h, w, 3) uint8 RGB; all of one size. time_s: when it is shown, of any origin."""
        if self._writer is None:
            self._partial = self._stack.enter_context(atomic_write(self.path))
            size = (image.shape[1], image.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self.rate, size)
            if not self._writer.isOpened():
                raise InputError(f"{self._partial}: video cannot be written; choose another --out")
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._times_s.append(len(self._times_s) / self.rate if time_s is None else time_s)

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack:
            # OpenCV's writer does not report a full disk; opening the file again does.
            if self._writer and not cv2.VideoCapture(str(self._partial)).isOpened():
                raise InputError(f"{self.path}: writing did not finish; is the disk full?")
            if self._writer:
                set_frame_times(self._partial, self._times_s, self.rate)


class GifWriter:
    """Context manager that writes an animation of a video with `rate` frames per second atomically.

    Above GIF_RATE, only every second, third, ... frame is used. Raises InputError past GIF_FRAMES,
    since all frames are kept in memory until the palette is chosen.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float):
        self.path, self.rate = Path(path), rate
        self.every = max(1, math.ceil(rate / GIF_RATE - 1e-6))
        self._count = 0
        self._images: list[np.ndarray] = []

    def uses_next(self) -> bool:
        """Whether the next frame is part of the animation."""
        return self._count % self.every == 0

    def add(self, image: np.ndarray | None) -> None:
        """Appends (h, w, 3) uint8 RGB. A frame that is not used may be None."""
        if image is not None and self.uses_next():
            if len(self._images) == GIF_FRAMES:
                raise InputError(
                    f"{self.path}: more than {GIF_FRAMES} frames; select a shorter range with "
                    "--start and --seconds"
                )
            self._images.append(image)
        self._count += 1

    def __enter__(self) -> "GifWriter":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None and self._images:
            with atomic_write(self.path) as partial:
                write_gif(partial, self._images, self.rate / self.every)


def write_gif(path: Path, images: list[np.ndarray], rate: float) -> None:
    """Writes (h, w, 3) uint8 RGB images of one size as an endless GIF, `rate` per second.

    All share one palette: with palettes of their own, static regions would flicker and could not be
    left out of a frame. No dithering, for the same reason. Durations are in hundredths of a second,
    the unit of the format, rounded so that errors do not accumulate.
    """
    from PIL import Image

    sampled = np.unique(np.linspace(0, len(images) - 1, 16).round().astype(int))
    sample = Image.fromarray(np.concatenate([images[i] for i in sampled]))
    # 255 colours: the last index is left for "unchanged".
    palette = sample.quantize(255, Image.Quantize.MEDIANCUT)
    first, *others = [
        Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
        for image in images
    ]
    ends = [round(100 * (i + 1) / rate) for i in range(len(images))]
    times = [10 * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)]
    first.save(
        path, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False
    )
