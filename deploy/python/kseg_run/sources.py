"""Sources of frames: an image, a folder of images or a video. Cameras are in camera.py."""

import itertools
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from kseg_run import image_file
from kseg_run.camera import Camera
from kseg_run.camera_capture import CameraOptions, capture_arguments
from kseg_run.errors import InputError
from kseg_run.frames import Frame
from kseg_run.video_file import VideoFile, VideoFileError


class Source(Protocol):
    """Yields Frames when iterated, once; stop() ends the iteration early, from any thread."""

    live: bool  # True: frames not processed in time are stale. False: they wait.
    rate: float | None  # frames per second; None for images

    def __iter__(self) -> Generator[Frame]: ...

    def stop(self) -> None: ...


def open_source(source: str, camera: CameraOptions | None = None) -> Source:
    """Opens what INPUT names. Raises InputError when it does not exist or cannot be opened."""
    path = Path(source)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if image_file.is_image_name(p.name))
        if not images:
            raise InputError(f"{path}: contains no images ({', '.join(image_file.SUFFIXES)})")
        check_unique_names(images)
        return Images(images)
    if path.is_file() and path.suffix.lower() in image_file.SUFFIXES:
        return Images([path])
    if capture_arguments(source):
        return Camera(source, camera)
    if not path.is_file():
        raise InputError(f"{source}: no such file, folder or camera")
    return Video(path)


def check_unique_names(paths: Sequence[Path]) -> None:
    """Raises InputError when two images share a stem: their outputs would overwrite each other."""
    path_by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in path_by_stem:
            other = path_by_stem[path.stem]
            raise InputError(f"{path}: has the same name as {other}; rename one of them")
        path_by_stem[path.stem] = path


class Images:
    """Yields image files, one after the other."""

    live = False
    rate: float | None = None

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __iter__(self) -> Generator[Frame]:
        for number, path in enumerate(self._paths):
            image, problem = read_image(path)
            yield Frame(number, path.stem, image, problem, first=number == 0)

    def stop(self) -> None:
        pass


def read_image(path: Path) -> tuple[np.ndarray | None, str]:
    """Returns ((h, w, 3) uint8 RGB as people see it, ""), or (None, why it cannot be used)."""
    try:
        return image_file.decode(path.read_bytes()), ""
    except OSError as error:
        return None, f"{path}: cannot be read ({error.strerror})"
    except image_file.ImageFileError as error:
        return None, f"{path}: {error}"


class Video:
    """Yields a video file's frames as people see them, with the file's times.

    Frames that the header declares but that cannot be decoded are yielded with image=None.
    """

    live = False

    def __init__(self, path: Path):
        self._path = path
        try:
            self._video = VideoFile(path)
        except VideoFileError as error:
            raise InputError(f"{path}: {error}") from error
        self.rate: float | None = self._video.rate

    def __iter__(self) -> Generator[Frame]:
        video, name = self._video, self._path.stem
        try:
            for number in itertools.count():
                grabbed = video.grab()
                image = video.retrieve() if grabbed else None
                if image is not None:
                    yield Frame(number, name, image, time_s=video.time_s, first=number == 0)
                elif number < video.declared:  # Corrupt: the next read continues after it.
                    problem = f"{self._path}: frame {number} cannot be decoded"
                    yield Frame(number, name, None, problem, video.time_s)
                else:
                    return
        finally:
            video.release()

    def stop(self) -> None:
        pass
