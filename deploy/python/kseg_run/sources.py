"""Where frames come from: an image, a folder of images, a video; a camera is in camera.py.

A source is iterated once and yields Frames; stop() ends it early. `rate` is its frames per second,
None for images. `live`: frames that nobody takes in time are stale; else every frame waits.
"""

from pathlib import Path

import cv2

from kseg_run.camera import Camera, capture_of
from kseg_run.errors import InputError
from kseg_run.frames import Frame

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def open_source(source, *, reconnect_s=60):
    """Returns the source that INPUT names. Raises InputError when there is nothing to read."""
    path = Path(source)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise InputError(f"{path}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
        check_names(images)
        return Images(images)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Images([path])
    if capture_of(source):
        return Camera(source, reconnect_s=reconnect_s)
    if not path.is_file():
        raise InputError(f"{source}: no such file, folder or camera")
    return Video(path)


def check_names(paths):
    """Raises InputError where answers, which are named as their image is, would not differ."""
    known = {}
    for path in paths:
        if path.stem in known:
            other = known[path.stem]
            raise InputError(f"{path}: has the same name as {other}; rename one of them")
        known[path.stem] = path


class Images:
    """Picture files, one after the other."""

    live, rate = False, None

    def __init__(self, paths):
        self._paths = paths

    def __iter__(self):
        for number, path in enumerate(self._paths):
            image = read_image(path)
            problem = "" if image is not None else undecodable(path)
            yield Frame(number, path.stem, image, problem, first=number == 0)

    def stop(self):
        pass


def read_image(path):
    """Returns (h, w, 3) uint8 RGB, or None."""
    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # A picture larger than OpenCV's limit.
        return None


def undecodable(path):
    return f"{path}: cannot be decoded as an image; remove or replace it"


class Video:
    """A video file. A frame that its header declares and that does not come is yielded as such."""

    live = False

    def __init__(self, path):
        self._path, self._video = path, cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise InputError(f"{path}: cannot be opened as a video")
        self.rate = self._video.get(cv2.CAP_PROP_FPS) or 25
        self._declared = int(max(0, self._video.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self):
        number, name = 0, self._path.stem
        try:
            while True:
                ok, image = self._video.read()
                time_s = number / self.rate
                if ok:
                    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    yield Frame(number, name, image, time_s=time_s, first=number == 0)
                elif number < self._declared:  # Damage: the next read begins behind it.
                    problem = f"{self._path}: frame {number} cannot be decoded"
                    yield Frame(number, name, None, problem, time_s)
                else:
                    return
                number += 1
        finally:
            self._video.release()

    def stop(self):
        pass
