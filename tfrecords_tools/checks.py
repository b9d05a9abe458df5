"""Checks of one TFRecord shard and its examples. They collect Problems and never raise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kseg import files, image_file
from kseg.image_file import ImageFileError
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, Shard
from kseg.paths import for_tensorflow, size_bytes
from tfrecords_tools import duplicates
from tfrecords_tools.shards import is_storable

# As in kseg/data/records.py.
FEATURES = {
    "key": "bytes_list",
    "image": "bytes_list",
    "mask": "bytes_list",
    "height": "int64_list",
    "width": "int64_list",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY_8_BIT = b"\x08\x00"  # Bit depth and colour type, bytes 24 and 25 of a PNG file.


@dataclass(frozen=True)
class Problem:
    """One problem. `kind` groups similar ones; `text` has the place, what it got and expected."""

    kind: str
    text: str
    warning: bool = False


@dataclass
class CheckedShard:
    """The contents of one shard, and the problems found in it.

    keys, locations and thumbnails are those of its decodable frames: names, the words that identify
    the frame in a message, and (32, 32) uint8 grey images. counts is the number of pixels of each
    of the 256 mask ids. complete is False when any record could not be read or decoded.
    """

    split: str
    shard: str
    keys: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    thumbnails: list[np.ndarray] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    complete: bool = True
    problems: list[Problem] = field(default_factory=list)

    def add_problem(
        self, kind: str, text: str, *, incomplete: bool = False, warning: bool = False
    ) -> None:
        self.problems.append(Problem(kind, text, warning))
        self.complete = self.complete and not incomplete


def check_shard(
    folder: Path, split: str, shard: Shard, manifest: Manifest, advance: Callable[[], None]
) -> CheckedShard:
    """Checks one shard of `split`; calls advance() after each example."""
    checked = CheckedShard(split, shard.name)
    path = folder / shard.name
    try:
        _check_file(path, shard, checked)
    except FileNotFoundError:
        text = f"{shard.name}: got no such file, expected one with {shard.examples} frames"
        checked.add_problem("missing shard", text, incomplete=True)
        return checked
    except OSError as error:
        text = f"{shard.name}: cannot be read: {error.strerror}"
        checked.add_problem("unreadable shard", text, incomplete=True)
        return checked
    count = 0
    for serialized in _records(path, checked):
        _check_example(serialized, count, manifest, checked)
        count += 1
        advance()
    # Corrupt framing ends the reading, and has been reported already.
    if count != shard.examples and not any(p.kind == "framing" for p in checked.problems):
        text = f"{shard.name}: got {count} records, expected {shard.examples} by {FILE_NAME}"
        checked.add_problem("record count", text, incomplete=True)
    return checked


def _check_file(path, shard, checked):
    digest, size = files.sha256(path), size_bytes(path)
    if size != shard.bytes:
        text = f"{shard.name}: got {size} bytes, expected {shard.bytes}"
        checked.add_problem("file size", text)
    if digest != shard.sha256:
        text = (
            f"{shard.name}: got SHA-256 {digest[:12]}..., expected {shard.sha256[:12]}...: its "
            "bytes have changed"
        )
        checked.add_problem("checksum", text)


def _records(path: Path, checked: CheckedShard) -> Iterator[bytes]:
    """Yields the shard's serialized examples up to its end or the first corrupt record."""
    import tensorflow as tf

    count = 0
    try:
        for record in tf.data.TFRecordDataset(for_tensorflow(path)).as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.OpError as error:
        text = (
            f"{path.name}: got a corrupt record after {count} good ones ({_reason(error)}); the "
            "rest cannot be read"
        )
        checked.add_problem("framing", text, incomplete=True)


def _check_example(serialized, index, manifest, checked):
    """Checks one record and adds its contents to `checked`."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    location = f"{checked.shard}, example {index}"
    try:
        example = tf.train.Example.FromString(serialized)
    except DecodeError:
        text = f"{location}: got {len(serialized)} bytes that are no tf.train.Example"
        checked.add_problem("example", text, incomplete=True)
        return
    values = _feature_values(example, location, checked)
    if values is None:
        return
    key = values["key"].decode("utf-8", "backslashreplace")
    location = f"{checked.shard}, example '{key}'"
    image = _decode_image(values["image"], location, checked)
    mask = _decode_mask(values["mask"], location, checked)
    if image is None or mask is None:
        return
    _check_sizes(image, mask, values, manifest.size, location, checked)
    _check_ids(mask, len(manifest.labels.classes), location, checked)
    checked.keys.append(key)
    checked.locations.append(location)
    checked.thumbnails.append(duplicates.thumbnail(image))
    checked.counts += np.bincount(mask.ravel(), minlength=256)


def _feature_values(example: Any, location: str, checked: CheckedShard) -> dict[str, Any] | None:
    """Returns {feature: its only value}, or None after adding a problem."""
    result = {}
    for name, kind in FEATURES.items():
        feature = example.features.feature.get(name)
        got_kind = feature.WhichOneof("kind") if feature else None
        values = list(getattr(feature, got_kind).value) if got_kind else []
        if got_kind != kind or len(values) != 1:
            got = f"{len(values)} values in {got_kind}" if got_kind else "nothing"
            text = f"{location}: feature '{name}' got {got}, expected one value in {kind}"
            checked.add_problem("feature", text, incomplete=True)
            return None
        result[name] = values[0]
    return result


def _decode_image(data: bytes, location: str, checked: CheckedShard) -> np.ndarray | None:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB as training sees them, or None."""
    try:
        header = image_file.read_header(data)
        image = image_file.decode(data, header)
    except ImageFileError as error:
        text = f"{location}: image {error}"
        checked.add_problem("image", text, incomplete=True)
        return None
    if not is_storable(header):
        text = (
            f"{location}: image is {header.format} with EXIF orientation {header.orientation}, "
            "expected an upright JPEG or PNG; build the data set again"
        )
        checked.add_problem("image", text, incomplete=True)
        return None
    return image


def _decode_mask(data: bytes, location: str, checked: CheckedShard) -> np.ndarray | None:
    """PNG bytes -> (H, W) uint8, or None.

    TensorFlow would also decode a colour, 16-bit or JPEG mask, and silently change its ids.
    """
    import tensorflow as tf

    if not data.startswith(_PNG) or data[24:26] != _GRAY_8_BIT:
        text = f"{location}: mask got another format, expected a PNG with one 8-bit grey channel"
        checked.add_problem("mask", text, incomplete=True)
        return None
    try:
        return tf.io.decode_png(data, channels=1).numpy()[..., 0]
    except tf.errors.OpError as error:
        text = f"{location}: mask cannot be decoded, got {len(data)} bytes ({_reason(error)})"
        checked.add_problem("mask", text, incomplete=True)
        return None


def _check_sizes(image, mask, features, manifest_size, location, checked):
    """Image, mask and size features must agree, also with the manifest's size if it has one."""
    size = image.shape[:2]
    for name, got, source, expected in (
        ("mask", mask.shape, "image", size),
        ("height and width features", (features["height"], features["width"]), "image", size),
        ("image", size, FILE_NAME, manifest_size or size),
    ):
        if tuple(got) != tuple(expected):
            text = (
                f"{location}: {name} got {got[0]}x{got[1]}, expected {expected[0]}x{expected[1]} "
                f"by the {source}"
            )
            checked.add_problem("image size", text)


def _check_ids(mask, num_classes, location, checked):
    ids = np.unique(mask)
    wrong = ids[(ids >= num_classes) & (ids != IGNORE_ID)]
    if wrong.size:
        pixels = int(np.isin(mask, wrong).sum())
        text = (
            f"{location}: mask got ids {wrong[:5].tolist()} in {pixels} pixels, expected 0 to "
            f"{num_classes - 1} or {IGNORE_ID}"
        )
        checked.add_problem("mask id", text)
    if ids.tolist() == [IGNORE_ID]:
        text = f"{location}: every pixel is ignored ({IGNORE_ID}); training learns nothing from it"
        checked.add_problem("unlabelled frame", text, warning=True)


def _reason(error: Any) -> str:
    """The informative part of a TensorFlow error, on one line."""
    message = str(error.message).split("}} ")[-1].split(" [Op:")[0]
    return " ".join(message.split())[:120]
