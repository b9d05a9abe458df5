"""Decoded frames kept for all epochs: in memory, or in a folder for later runs too.

What is kept is what decoding gives at the model's size, before shuffling and augmentation, so a
training is the same to the bit with and without.
"""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from kseg.errors import InputError

_SMALL = 0.1  # Of the memory that is free: what "auto" takes without being asked.


def load_or_decode(where, frames, count, size, identity):
    """Returns (images (N, H, W, 3) uint8, masks (N, H, W) uint8), in the order on disk, or None.

    where: "none"; "memory"; "auto", which is "memory" for what takes a tenth of it at most, else
    "none"; or a folder. frames: a function that returns an iterable of (image, mask), only called
    when there is something to decode; count: N; size: (H, W); identity: text that tells these
    frames from others that the folder may hold. Raises InputError when they do not fit.
    """
    need = count * size[0] * size[1] * 4
    if where == "auto":
        where = "memory" if need <= _SMALL * _available_memory() else "none"
    if where == "none":
        return None
    if where == "memory":
        _check_room("--cache memory", need, _available_memory(), "main memory's")
        arrays = tuple(np.empty(shape, np.uint8) for shape in _shapes(count, size))
        _fill(*arrays, frames())
        return arrays
    folder = Path(where)
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    paths = [folder / f"{name}-{what}.npy" for what in ("images", "masks")]
    if not all(path.is_file() for path in paths):
        _write(paths, frames, count, size, need)
    try:
        return tuple(np.load(path, mmap_mode="r") for path in paths)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read ({error}); remove it") from error


def _write(paths, frames, count, size, need):
    """Writes both arrays under other names first, so that what is there is whole."""
    folder = paths[0].parent
    partial = [path.with_name(f"partial-{os.getpid()}-{path.name}") for path in paths]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(f"--cache {folder}", need, shutil.disk_usage(folder).free, "the disk's")
        arrays = [
            np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            for path, shape in zip(partial, _shapes(count, size), strict=True)
        ]
        for path in partial:
            with path.open("r+b") as file:
                # On a full disk, writing through a memory map would kill the process.
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        _fill(*arrays, frames())
        for path, final in zip(partial, paths, strict=True):
            os.replace(path, final)
    except OSError as error:
        raise InputError(f"--cache {folder}: cannot be written ({error.strerror})") from error
    finally:
        for path in partial:
            path.unlink(missing_ok=True)


def _shapes(count, size):
    return (count, *size, 3), (count, *size)


def _fill(images, masks, frames):
    for i, (image, mask) in enumerate(frames):
        images[i], masks[i] = image, mask


def _available_memory(root="/"):
    """Bytes that programs may still take: by the kernel's estimate, or a container's limit."""
    lines = Path(root, "proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    limit = Path(root, "sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(free, int(text)) if text.isdecimal() else free


def _check_room(flag, need, free, whose):
    # A tenth stays for everything else.
    if need > 0.9 * free:
        raise InputError(
            f"{flag}: the decoded frames need {need / 1e9:.1f} GB of {whose} free "
            f"{free / 1e9:.1f} GB; leave the flag out"
        )
