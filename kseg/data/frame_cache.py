"""Cache of decoded training frames: in memory, or in a folder that later runs use too.

It holds frames at the model's size, before shuffling and augmentation, so training with a cache is
bit-identical to training without one.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from kseg import files
from kseg.data.available_memory import available_memory
from kseg.errors import InputError
from kseg.preprocess import Size

Frames = tuple[np.ndarray, np.ndarray]  # images (N, H, W, 3) uint8, masks (N, H, W) uint8

_AUTO_SHARE = 0.1  # Share of the available memory that "auto" uses at most.


def load_or_decode(
    cache: str | os.PathLike[str],
    decode_frames: Callable[[], Iterable[Frames]],
    *,
    count: int,
    size: Size,
    identity: str,
) -> Frames | None:
    """Returns all images (N, H, W, 3) and masks (N, H, W), uint8, in the order on disk, or None.

    cache: "none"; "memory"; "auto", which is "memory" for frames that take a tenth of it at most
    and "none" otherwise; or a folder. decode_frames: returns an iterable of (image, mask), called
    only when the cache is empty. count: N. size: (H, W). identity: text that distinguishes these
    frames from others in the folder. Raises InputError when the frames do not fit.
    """
    needed = count * size[0] * size[1] * 4
    if cache == "auto":
        cache = "memory" if needed <= _AUTO_SHARE * available_memory() else "none"
    if cache == "none":
        return None
    if cache == "memory":
        _check_room("--cache memory", needed, available_memory(), "memory")
        images, masks = (np.empty(shape, np.uint8) for shape in _shapes(count, size))
        _fill(images, masks, decode_frames())
        return images, masks
    folder = Path(cache)
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    paths = [folder / f"{name}-{kind}.npy" for kind in ("images", "masks")]
    if not all(path.is_file() for path in paths):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--cache {folder}: cannot be created ({error.strerror})") from error
        with files.lock(folder, "waiting for another process that fills this cache", wait=True):
            if not all(path.is_file() for path in paths):
                _check_and_write(paths, decode_frames, count, size)
    try:
        images, masks = (np.load(path, mmap_mode="r") for path in paths)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read ({error}); remove it") from error
    return images, masks


def _check_and_write(paths, decode_frames, count, size):
    """Writes both arrays under temporary names first, so that the final files are complete."""
    folder, shapes = paths[0].parent, _shapes(count, size)
    try:
        with files.temporary_folder(folder) as temporary:  # Removes those of killed processes.
            needed = sum(int(np.prod(shape)) for shape in shapes)
            free = shutil.disk_usage(folder).free
            _check_room(f"--cache {folder}", needed, free, "disk space")
            partial = [temporary / path.name for path in paths]
            images, masks = (
                np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                for path, shape in zip(partial, shapes, strict=True)
            )
            for path in partial:
                with path.open("r+b") as file:
                    # On a full disk, writing through a memory map would kill the process.
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            _fill(images, masks, decode_frames())
            for path, final in zip(partial, paths, strict=True):
                os.replace(path, final)
    except OSError as error:
        raise InputError(
            f"--cache {folder}: cannot be written ({error.strerror}); choose another folder"
        ) from error


def _shapes(count, size):
    return (count, *size, 3), (count, *size)


def _fill(images, masks, frames):
    for i, (image, mask) in enumerate(frames):
        images[i], masks[i] = image, mask


def _check_room(flag, needed, free, resource):
    # A tenth stays for everything else.
    if needed > 0.9 * free:
        raise InputError(
            f"{flag}: the decoded frames need {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB "
            f"of {resource} is free; leave the flag out"
        )
