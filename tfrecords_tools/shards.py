"""Writes one shard: read and check its frames, resize them once, write a TFRecord file.

`write_shard` gives the same bytes in this process, a pool or a Beam worker. It leaves a ShardReport
beside the shard, NAME.json, by which the next run recognises finished shards.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kseg import files, image_file, preprocess
from kseg.errors import InputError, user_path
from kseg.labels import IGNORE_ID, LabelSet
from kseg.paths import is_remote, size_bytes, to_path
from kseg.preprocess import Size
from tfrecords_tools.datasets import Frame, count_ids, fingerprint, has_other_ids

# Part of the identity of shards. Increase it with every change to the decoding, checking or
# encoding of frames, here or in tfrecords_tools.datasets, that gives other shards for the same
# files. Shards of another version are written again.
CONVERSION_VERSION = 2
JPEG_QUALITY = 95  # Of resized images; of the others, upright JPEG and PNG files keep their bytes.
# Decodes twice as fast as OpenCV's default. Training decodes masks in every epoch, which takes as
# long as decoding the images.
MASK_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 3)


@dataclass(frozen=True)
class ShardJob:
    """The content of one shard, as a picklable value.

    origin is that of the Source: the kind of label that read_mask reads, and its coding. size is
    (height, width); None keeps each frame's own.
    """

    name: str
    frames: tuple[Frame, ...]
    labels: LabelSet
    read_mask: Callable[[Frame, Size], np.ndarray]
    origin: str
    size: Size | None
    fit: str

    def digest(self) -> str:
        """SHA-256 (hex) of everything that determines the shard's bytes.

        Files count by their sizes and times, not their content. A digest that changes makes users'
        finished shards look unfinished.
        """
        versions = [CONVERSION_VERSION, preprocess.FIT_VERSION]
        settings = [versions, self.name, self.labels.to_dict(), self.origin, self.size, self.fit]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for frame in self.frames:
            inputs = [frame.key, fingerprint(frame.image_path), fingerprint(frame.label)]
            digest.update("\n".join(inputs).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardReport:
    """The result of a ShardJob.

    job is its digest. ids (256,) counts the pixels of each mask id; sizes are the (height, width)
    that occur; bad lists the unusable frames, {"key", "image", "label", "reason"}; notes counts the
    frames to which each note for the summary applies. reframed: as in Manifest.
    """

    job: str
    examples: int
    sha256: str
    bytes: int
    ids: tuple[int, ...]
    sizes: tuple[Size, ...]
    bad: tuple[dict, ...]
    notes: dict[str, int]
    reframed: int


def write_shard(
    job: ShardJob,
    folder: Path | str,
    progress: Callable[[int], None] = lambda frames: None,
) -> ShardReport:
    """Writes FOLDER/NAME and its report, each atomically. Returns the ShardReport.

    An unusable frame is left out and listed in the report; it raises nothing. progress(1) is called
    after each frame. Raises OSError when the disk is full or not writable.
    """
    import tensorflow as tf

    path = to_path(folder) / job.name
    ids, sizes, bad, examples = np.zeros(256, np.int64), set(), [], 0
    notes: Counter[str] = Counter()
    reframed = 0
    with _atomic_write(path) as partial:
        try:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for frame in job.frames:
                    try:
                        example, mask, noted, is_reframed = convert_frame(frame, job)
                    except InputError as error:
                        place = {"image": str(frame.image_path), "label": frame.where}
                        bad.append({"key": frame.key, **place, "reason": str(error)})
                    else:
                        writer.write(example)
                        ids += count_ids(mask)
                        sizes.add(mask.shape)
                        notes += noted
                        reframed += is_reframed
                        examples += 1
                    progress(1)
        except tf.errors.OpError as error:  # A full disk: TensorFlow's message is "PATH; reason".
            raise OSError(errno.EIO, error.message.rpartition("; ")[2], str(path)) from error
        report = ShardReport(
            job=job.digest(),
            examples=examples,
            sha256=files.sha256(partial),
            bytes=partial.stat().st_size,
            ids=tuple(ids.tolist()),
            sizes=tuple(sorted(sizes)),
            bad=tuple(bad),
            notes=dict(notes),
            reframed=reframed,
        )
    with _atomic_write(_report_path(path)) as partial:
        partial.write_text(json.dumps(dataclasses.asdict(report)))
    return report


@contextlib.contextmanager
def _atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary local path; once written, it replaces `path`, also in a bucket.

    Unlike kseg.files.atomic_write, two processes may write the same path: on a cluster a job may
    run twice at the same time.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / path.name
            yield partial
            # An object appears in a bucket only when its upload is complete.
            with partial.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        files.sync(partial)  # Otherwise a power cut can leave zeros under the name.
        with user_path(path):
            os.replace(partial, path)
        files.sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def is_finished(job: ShardJob, folder: Path | str) -> bool:
    """Whether a shard has been written before, from the same inputs, and its bytes are intact.

    A shard with unusable frames counts as unfinished, since they may have been repaired. In a
    bucket, where an object appears complete or not at all, only the size is compared.
    """
    path = to_path(folder) / job.name
    try:
        report = read_report(job, folder)
        if report.bad or report.job != job.digest() or size_bytes(path) != report.bytes:
            return False
        return is_remote(path) or files.sha256(path) == report.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_report(job: ShardJob, folder: Path | str) -> ShardReport:
    """Returns the ShardReport that `write_shard` has left beside a job's shard."""
    document = json.loads(_report_path(to_path(folder) / job.name).read_text())
    document["sizes"] = tuple(tuple(size) for size in document["sizes"])
    return ShardReport(**document)


def remove_stale_files(jobs: list[ShardJob], folder: Path | str) -> None:
    """Removes half-written files of killed workers, and shards that are not among `jobs`."""
    paths = [to_path(folder) / job.name for job in jobs]
    known = {*paths, *map(_report_path, paths)}
    for path in to_path(folder).glob("*.tfrecord-*"):
        if path not in known:
            path.unlink()


def remove_reports(jobs: list[ShardJob], folder: Path | str) -> None:
    """Removes the reports, which the manifest replaces."""
    for job in jobs:
        _report_path(to_path(folder) / job.name).unlink(missing_ok=True)


def convert_frame(frame: Frame, job: ShardJob) -> tuple[bytes, np.ndarray, Counter[str], bool]:
    """Checks one Frame of a ShardJob and converts it to a record.

    Returns (serialized Example, (H, W) uint8 mask as stored, notes for the summary, whether the
    frame got bars or lost edges). Raises
    InputError with the name of the file that is corrupt, of another size, or has an unknown id.
    """
    from kseg.data import records

    data, header, image = _read_image(frame.image_path)
    mask = job.read_mask(frame, image.shape[:2])
    if mask.shape != image.shape[:2]:
        raise InputError(_size_mismatch(frame, mask.shape, image.shape[:2], header.orientation))
    _check_ids(mask, job.labels, frame.where)
    notes: Counter[str] = Counter()
    if header.orientation != 1:
        notes["images turned upright by their EXIF orientation; labels must fit them upright"] = 1
    reframed = False
    if job.size and job.size != mask.shape:
        place = preprocess.placement(mask.shape, job.size, job.fit)
        reframed = (place.height, place.width) != job.size
        if 2 * place.height * place.width < job.size[0] * job.size[1]:
            notes["images fill less than half of the stored frames; is --size HEIGHT WIDTH?"] = 1
        image = preprocess.fit_image(image, job.size, job.fit)
        mask = preprocess.fit_mask(mask, job.size, job.fit)
        data = _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    elif not is_storable(header):
        notes["images stored as PNG, because they are WebP or BMP or had to be turned"] = 1
        data = _encode(".png", image, [])
    mask_png = cv2.imencode(".png", mask, MASK_PNG)[1].tobytes()
    return records.encode(frame.key, data, mask_png, mask.shape), mask, notes, reframed


def is_storable(header: image_file.Header) -> bool:
    """Whether an image file is stored byte for byte: every reader decodes it to the same pixels."""
    return header.format in ("JPEG", "PNG") and header.orientation == 1


def _report_path(shard_path: Path) -> Path:
    return shard_path.with_name(shard_path.name + ".json")


def _read_image(path: Path) -> tuple[bytes, image_file.Header, np.ndarray]:
    """Returns the content of an image file, its Header, and its pixels (H, W, 3) uint8 RGB."""
    try:
        data = path.read_bytes()
        header = image_file.read_header(data)
        return data, header, image_file.decode(data, header)
    except OSError as error:
        raise InputError(f"{path}: image cannot be read ({error.strerror})") from error
    except image_file.ImageFileError as error:
        raise InputError(f"{path}: image {error}") from error


def _encode(suffix, image, flags):
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1].tobytes()


def _size_mismatch(frame, mask_size, image_size, orientation):
    sizes = "{}x{}".format(*mask_size), "{}x{}".format(*image_size)
    text = f"{frame.where}: mask is {sizes[0]} but image {frame.image_path} is {sizes[1]}"
    if orientation >= 5 and mask_size == image_size[::-1]:
        return (
            f"{text} as people see it, after its EXIF orientation {orientation}; the mask fits the "
            "stored pixels, so turn it too, or label the upright picture"
        )
    return f"{text}; export the mask in the image's size"


def _check_ids(mask: np.ndarray, labels: LabelSet, path: str) -> None:
    known = [*range(len(labels.classes)), IGNORE_ID]
    if has_other_ids(mask, known):
        wrong = [int(i) for i in np.flatnonzero(count_ids(mask)) if i not in known]
        raise InputError(
            f"{path}: ids {wrong[:5]} in the mask; expected {labels.name}'s 0 to "
            f"{len(labels.classes) - 1}, or {IGNORE_ID} for ignored pixels"
        )
