"""The demo set on disk, in BDD100K's layout.

DIR/images/100k/{train,val}/KEY.jpg                pictures
DIR/labels/drivable/masks/{train,val}/KEY.png      0 direct, 1 alternative, 2 background
DIR/labels/drivable/colormaps/{train,val}/KEY.png  the same in colour
DIR/demo.json                                      what was asked for; written last

A frame depends on (seed, split, its number) alone: more frames or more threads change no byte.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from rich.progress import track

from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from tfrecords_tools.demo.render import render
from tfrecords_tools.demo.sample import sample_scene

VERSION = 1  # Raise when frames change, so that old folders are not taken for new ones.
SPLITS = ("train", "val")
JPEG_QUALITY = 90


def already_there(out, spec):
    """True if out holds exactly this set, False if it is free to write.

    Raises InputError if it holds anything else; nothing is ever overwritten.
    """
    try:
        if not out.exists() and not out.is_symlink():
            return False
        if not out.is_dir():
            raise InputError(f"{out}: --out is not a folder; give another --out")
        if not any(out.iterdir()):
            return False
        found = _read_spec(out)
    except OSError as error:
        raise InputError(_one_line(error, out)) from error
    if found == spec:
        return True
    held = f"the demo set {json.dumps(found)}" if found else "something that is not a demo set"
    raise InputError(
        f"{out}: already holds {held}, asked was {json.dumps(spec)}; "
        "give another --out or remove the folder"
    )


def write_set(out, spec, threads):
    """Writes all frames to `out.partial`, then renames it to out.

    Raises InputError where disk or rights do not allow it; `out.partial` never stays behind.
    """
    try:
        out = out.resolve()
        partial = out.with_name(out.name + ".partial")
        _remove_leftover(partial)
        try:
            partial.mkdir(parents=True)
            for split in SPLITS:
                for folder in _frame_folders(partial, split):
                    folder.mkdir(parents=True)
            _write_frames(partial, spec, threads)
            (partial / "demo.json").write_text(json.dumps(spec) + "\n")
            partial.rename(out)  # Replaces an empty folder, never one that holds anything.
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # There only when something went wrong.
    except OSError as error:
        raise InputError(_one_line(error, out)) from error


def draw_frame(seed, split, k, size):
    """Returns picture uint8 (h, w, 3) RGB and mask uint8 (h, w) of frame k of a split."""
    rng = np.random.default_rng([seed, SPLITS.index(split), k])
    return render(sample_scene(rng, tuple(size)))


def _one_line(error, path):
    """An OSError as "PATH: reason"; path is named where the error names none (full disk)."""
    return f"{error.filename or path}: {error.strerror or error}"


def _read_spec(out):
    """Returns what DIR/demo.json says, or None where that is not the spec of a demo set."""
    try:
        found = json.loads((out / "demo.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _remove_leftover(partial):
    """Removes what a killed run left, and only that: InputError if anything else lies there."""
    if not partial.exists():
        return
    strange = sorted({p.name for p in partial.iterdir()} - {"images", "labels", "demo.json"})
    if strange:
        raise InputError(
            f"{partial}: needed as a temporary folder but holds {strange[0]!r}; "
            "move it away or give another --out"
        )
    shutil.rmtree(partial)


def _frame_folders(root, split):
    """The folders of pictures, masks and colour maps of a split."""
    labels = root / "labels" / "drivable"
    return root / "images" / "100k" / split, labels / "masks" / split, labels / "colormaps" / split


def _write_frames(root, spec, threads):
    """Draws every frame of every split on `threads` threads, with a progress bar."""
    jobs = [(split, k) for split in SPLITS for k in range(spec[split])]
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # One frame per core beats many cores per frame.
    pool = ThreadPoolExecutor(threads)
    try:
        work = pool.map(lambda job: _write_frame(root, spec["seed"], *job, spec["size"]), jobs)
        for _ in track(work, description="drawing", total=len(jobs)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)


def _write_frame(root, seed, split, k, size):
    """Draws frame k of a split and writes its picture, mask and colour map."""
    picture, mask = draw_frame(seed, split, k, size)
    key = _frame_key(seed, split, k)
    images, masks, colormaps = _frame_folders(root, split)
    palette = np.array(BDD100K_DRIVABLE.palette, np.uint8)
    _save(images / f"{key}.jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    _save(masks / f"{key}.png", mask)
    _save(colormaps / f"{key}.png", palette[mask][..., ::-1])


def _frame_key(seed, split, k):
    """A name like BDD100K's: eight hex digits, a dash, eight more; unique in its split."""
    return f"{seed & 0xFFFFFFFF:08x}-{SPLITS.index(split):01x}{k:07x}"


def _save(path, image, options=()):
    """Encodes image (BGR or grey, uint8) by the path's ending; raises OSError if not written."""
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), list(options))
    if not done:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(data.tobytes())
