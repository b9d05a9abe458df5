"""One shard as an independent unit of work: read frames, check, resize once, write a TFRecord file.

Whoever runs `write_shard` (this process, a pool, a Beam worker) gets the same bytes. Beside a
finished shard lies NAME.json, its ShardReport: that is how a rerun knows what is done.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kseg import preprocess
from kseg.errors import InputError
from kseg.files import sha256
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import is_remote, size_bytes, to_path
from tfrecords_tools.datasets import Frame, count_ids, fingerprint

JPEG_QUALITY = 95  # Of resized images; unchanged ones keep their bytes.
# OpenCV's default is read back half as fast: training does that in each epoch, and masks are as
# much work to decode as their images.
MASK_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 3)


@dataclass(frozen=True)
class ShardJob:
    """What goes into one shard; picklable.

    origin is the Source's: which kind of label read_mask reads, and in which coding. size is
    (height, width), None keeps the frames' own.
    """

    name: str
    frames: tuple[Frame, ...]
    labels: LabelSet
    read_mask: Callable[[Frame, tuple[int, int]], np.ndarray]
    origin: str
    size: tuple[int, int] | None
    fit: str

    def digest(self):
        """SHA-256 (hex) of all that decides the shard's bytes, by the files' sizes and times."""
        asked = [self.name, self.labels.to_dict(), self.origin, self.size, self.fit]
        digest = hashlib.sha256(json.dumps(asked).encode())
        for frame in self.frames:
            looks = [frame.key, fingerprint(frame.image_path), fingerprint(frame.label)]
            digest.update("\n".join(looks).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardReport:
    """What became of a ShardJob.

    ids (256,) counts mask ids; sizes are the (height, width) that occur; bad lists the frames left
    out, {"key", "image", "reason"}.
    """

    job: str
    examples: int
    sha256: str
    bytes: int
    ids: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    bad: tuple[dict, ...]


def write_shard(job, folder, progress=lambda frames: None):
    """Writes FOLDER/NAME and its report, each renamed into place. Returns the ShardReport.

    A frame that cannot be used is left out and reported, never raised. progress(1) is called per
    frame. Raises OSError when the disk is full or not writable.
    """
    import tensorflow as tf

    path = to_path(folder) / job.name
    ids, sizes, bad, examples = np.zeros(256, np.int64), set(), [], 0
    with _as_a_whole(path) as partial:
        try:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for frame in job.frames:
                    try:
                        example, mask = convert_frame(frame, job)
                    except InputError as error:
                        where = str(frame.image_path)
                        bad.append({"key": frame.key, "image": where, "reason": str(error)})
                    else:
                        writer.write(example)
                        ids += count_ids(mask)
                        sizes.add(mask.shape)
                        examples += 1
                    progress(1)
        except tf.errors.OpError as error:  # A full disk reaches us as TensorFlow's "PATH; reason".
            raise OSError(None, error.message.rpartition("; ")[2], str(path)) from error
        done = ShardReport(
            job=job.digest(),
            examples=examples,
            sha256=sha256(partial),
            bytes=partial.stat().st_size,
            ids=tuple(ids.tolist()),
            sizes=tuple(sorted(sizes)),
            bad=tuple(bad),
        )
    with _as_a_whole(_report_path(path)) as partial:
        partial.write_text(json.dumps(dataclasses.asdict(done)))
    return done


@contextlib.contextmanager
def _as_a_whole(path):
    """Gives a local path to write to; what is there at the end appears at `path` at once."""
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / path.name
            yield partial
            # A bucket shows an object when its upload is complete.
            with partial.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    # A name of its own: on a cluster the same job may run twice at once.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def finished(job, folder):
    """Whether a job was done before, from the very same inputs.

    A shard that left frames out is not finished: they may have been mended since.
    """
    path = to_path(folder) / job.name
    try:
        found = report(job, folder)
        return not found.bad and found.job == job.digest() and size_bytes(path) == found.bytes
    except (OSError, ValueError, KeyError, TypeError):
        return False


def report(job, folder):
    """Returns the ShardReport that `write_shard` left beside a job's shard."""
    document = json.loads(_report_path(to_path(folder) / job.name).read_text())
    document["sizes"] = tuple(tuple(size) for size in document["sizes"])
    return ShardReport(**document)


def clear_strangers(jobs, folder):
    """Removes what killed workers left half-written, and shards of another plan."""
    folder = to_path(folder)
    paths = [folder / job.name for job in jobs]
    known = {*paths, *map(_report_path, paths)}
    for path in folder.glob("*.tfrecord-*"):
        if path not in known:
            path.unlink()


def remove_reports(jobs, folder):
    """Removes the reports; by then the manifest says the same."""
    for job in jobs:
        _report_path(to_path(folder) / job.name).unlink(missing_ok=True)


def convert_frame(frame, job):
    """Checks one Frame of a ShardJob and turns it into a record.

    Returns (serialized Example, (H, W) uint8 mask as stored). Raises InputError naming the file
    that is damaged, of another size, or holds an unknown id.
    """
    from kseg.data import records

    image_file, image = _read_image(frame.image_path)
    mask = job.read_mask(frame, image.shape[:2])
    if mask.shape != image.shape[:2]:
        raise InputError(
            f"{frame.where}: mask is {mask.shape[0]}x{mask.shape[1]} but image "
            f"{frame.image_path} is {image.shape[0]}x{image.shape[1]}"
        )
    _check_ids(mask, job.labels, frame.where)
    if job.size and job.size != mask.shape:
        image = preprocess.fit_image(image, job.size, job.fit)
        mask = preprocess.fit_mask(mask, job.size, job.fit)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        image_file = cv2.imencode(".jpg", bgr, quality)[1].tobytes()
    mask_png = cv2.imencode(".png", mask, MASK_PNG)[1].tobytes()
    return records.encode(frame.key, image_file, mask_png, mask.shape), mask


def _report_path(shard_path):
    return shard_path.with_name(shard_path.name + ".json")


def _read_image(path):
    """Returns (JPEG or PNG bytes, (H, W, 3) uint8 RGB).

    TensorFlow's decoder, not OpenCV's: the latter fills the missing half of a truncated JPEG with
    grey and says nothing.
    """
    import tensorflow as tf

    try:
        image_file = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: image cannot be read ({error.strerror})") from error
    try:
        image = tf.io.decode_image(image_file, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{path}: image is damaged or truncated ({len(image_file)} bytes); replace it or "
            "remove it together with its mask"
        ) from error
    return image_file, image


def _check_ids(mask, labels, path):
    present = np.flatnonzero(count_ids(mask))
    wrong = [int(i) for i in present if i >= len(labels.classes) and i != IGNORE_ID]
    if wrong:
        raise InputError(
            f"{path}: ids {wrong[:5]} in the mask; {labels.name} has 0 to "
            f"{len(labels.classes) - 1}, and {IGNORE_ID} for ignored pixels"
        )
