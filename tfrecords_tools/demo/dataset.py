"""The demo set on disk, in BDD100K's layout.

DIR/images/100k/{train,val}/KEY.jpg                images
DIR/labels/drivable/masks/{train,val}/KEY.png      0 direct, 1 alternative, 2 background
DIR/labels/drivable/colormaps/{train,val}/KEY.png  the same in colour
DIR/demo.json                                      the parameters of the set; written last

A frame depends only on (seed, split, its index): more frames or threads change no byte.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from kseg.errors import InputError, is_by_the_machine, user_path
from kseg.labels import BDD100K_DRIVABLE
from kseg.preprocess import Size
from tfrecords_tools.demo.render import render
from tfrecords_tools.demo.sample_scene import sample_scene

VERSION = 1  # Increase when frames change, so that old folders are not mistaken for new ones.
SPLITS = ("train", "val")
JPEG_QUALITY = 90


def already_written(out: Path, spec: dict[str, Any]) -> bool:
    """Whether `out` holds exactly this set; False means that it is free to write.

    Raises InputError if it holds anything else: nothing is ever overwritten.
    """
    try:
        if not out.exists() and not out.is_symlink():
            return False
        if not out.is_dir():
            raise InputError(f"{out}: --out is not a folder; choose another --out")
        if not any(out.iterdir()):
            return False
        present = _read_spec(out)
    except OSError as error:
        raise InputError(_one_line(error, out)) from error
    if present == spec:
        return True
    content = f"the demo set {json.dumps(present)}" if present else "something else"
    raise InputError(
        f"{out}: already holds {content}, expected an empty folder or {json.dumps(spec)}; choose "
        "another --out or remove the folder"
    )


def write_dataset(out: Path, spec: dict[str, Any], threads: int) -> None:
    """Writes all frames to `out.partial`, then renames it to `out`.

    Raises InputError where the disk is full or not writable; `out.partial` is then removed.
    """
    try:
        out = out.resolve()
        partial = out.with_name(out.name + ".partial")
        _remove_partial(partial)
        try:
            with user_path(out):
                partial.mkdir(parents=True)
            for split in SPLITS:
                for folder in _frame_folders(partial, split):
                    folder.mkdir(parents=True)
            _write_frames(partial, spec, threads)
            (partial / "demo.json").write_text(json.dumps(spec) + "\n")
            partial.rename(out)  # Replaces an empty folder, but never one with content.
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # Exists only after an error.
    except OSError as error:
        if not is_by_the_machine(error):
            raise
        raise InputError(_one_line(error, out)) from error


def draw_frame(seed: int, split: str, index: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Returns image uint8 (h, w, 3) RGB and mask uint8 (h, w) of one frame of a split."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return render(sample_scene(rng, size))


def _one_line(error: OSError, path: Path) -> str:
    """Returns "PATH: reason"; `path` serves where the error has no file name (full disk)."""
    return f"{error.filename or path}: {error.strerror or error}"


def _read_spec(out: Path) -> dict[str, Any] | None:
    """Returns the content of DIR/demo.json, or None if that is no demo set's."""
    try:
        spec = json.loads((out / "demo.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return spec if isinstance(spec, dict) else None


def _remove_partial(partial: Path) -> None:
    """Removes the folder of a killed run. Raises InputError if it holds any other files."""
    if not partial.exists():
        return
    others = sorted({p.name for p in partial.iterdir()} - {"images", "labels", "demo.json"})
    if others:
        raise InputError(
            f"{partial}: needed as a temporary folder but holds {others[0]!r}; move it away or "
            "choose another --out"
        )
    shutil.rmtree(partial)


def _frame_folders(root: Path, split: str) -> tuple[Path, Path, Path]:
    """The folders of images, masks and colour maps of a split."""
    labels = root / "labels" / "drivable"
    return root / "images" / "100k" / split, labels / "masks" / split, labels / "colormaps" / split


def _write_frames(root: Path, spec: dict[str, Any], threads: int) -> None:
    """Draws every frame of every split in `threads` threads, with a progress bar."""
    size = tuple(spec["size"])
    jobs = [(split, index) for split in SPLITS for index in range(spec[split])]

    def write(job):
        split, index = job
        _write_frame(root, spec["seed"], split, index, size)

    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # One core per frame is faster than many.
    pool = ThreadPoolExecutor(threads)
    try:
        work = pool.map(write, jobs)
        for _ in track(work, description="drawing", total=len(jobs)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)


def _write_frame(root: Path, seed: int, split: str, index: int, size: Size) -> None:
    """Draws one frame of a split and writes its image, mask and colour map."""
    image, mask = draw_frame(seed, split, index, size)
    key = _frame_key(seed, split, index)
    images, masks, colormaps = _frame_folders(root, split)
    palette = np.array(BDD100K_DRIVABLE.palette, np.uint8)
    _save(images / f"{key}.jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _save(masks / f"{key}.png", mask)
    _save(colormaps / f"{key}.png", palette[mask][..., ::-1])


def _frame_key(seed: int, split: str, index: int) -> str:
    """A name like BDD100K's: eight hex digits, a dash, eight more; unique in its split."""
    return f"{seed & 0xFFFFFFFF:08x}-{SPLITS.index(split):01x}{index:07x}"


def _save(path: Path, image: np.ndarray, options: Sequence[int] = ()) -> None:
    """Encodes image (BGR or grey, uint8) by the path's suffix. Raises OSError if not written."""
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), list(options))
    if not encoded:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(data.tobytes())
