"""What one TFRecord shard and one example must satisfy; every breach is a Problem, none raises."""

from dataclasses import dataclass, field

import numpy as np

from kseg.files import sha256
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME
from kseg.paths import for_tensorflow, size_bytes
from tfrecords_tools import duplicates

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
    """One finding. kind groups like with like; text says where, what, got, expected."""

    kind: str
    text: str
    warning: bool = False


@dataclass
class Reading:
    """What one shard held.

    keys and where name its decodable frames, thumbnails shows them as (32, 32) uint8 grey, counts
    is the number of pixels of each of the 256 mask ids. complete is False when anything is lost.
    """

    split: str
    shard: str
    keys: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    thumbnails: list[np.ndarray] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    complete: bool = True
    problems: list[Problem] = field(default_factory=list)

    def complain(self, kind, text, lost=False, warning=False):
        self.problems.append(Problem(kind, text, warning))
        self.complete = self.complete and not lost


def read_shard(folder, split, shard, manifest, advance):
    """Checks one manifest.Shard of `split`; calls advance() after each example.

    Returns its Reading.
    """
    reading = Reading(split, shard.name)
    path = folder / shard.name
    try:
        _check_file(path, shard, reading)
    except FileNotFoundError:
        reading.complain("missing shard", f"{shard.name}: got no such file, expected one with "
                         f"{shard.examples} frames", lost=True)  # fmt: skip
        return reading
    except OSError as error:
        reading.complain("unreadable", f"{shard.name}: cannot be read: {error.strerror}", lost=True)
        return reading
    count = 0
    for serialized in _records(path, reading):
        _check_example(serialized, count, manifest, reading)
        count += 1
        advance()
    # Damaged framing ends the reading; that is told already.
    if count != shard.examples and not any(p.kind == "framing" for p in reading.problems):
        reading.complain("record count", f"{shard.name}: got {count} records, expected "
                         f"{shard.examples} by {FILE_NAME}", lost=True)  # fmt: skip
    return reading


def _check_file(path, shard, reading):
    digest = sha256(path)
    size = size_bytes(path)
    if size != shard.bytes:
        reading.complain("size", f"{shard.name}: got {size} bytes, expected {shard.bytes}")
    if digest != shard.sha256:
        reading.complain("checksum", f"{shard.name}: got SHA-256 {digest[:12]}..., expected "
                         f"{shard.sha256[:12]}...: its bytes have changed")  # fmt: skip


def _records(path, reading):
    """Yields the shard's serialized examples up to its end or the first damaged record."""
    import tensorflow as tf

    count = 0
    try:
        for record in tf.data.TFRecordDataset(for_tensorflow(path)).as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.OpError as error:
        reading.complain("framing", f"{path.name}: got a damaged record after {count} good ones "
                         f"({_short(error)}), the rest cannot be read", lost=True)  # fmt: skip


def _check_example(serialized, number, manifest, reading):
    """Checks one record and adds what it holds to `reading`."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    where = f"{reading.shard}, example {number}"
    try:
        example = tf.train.Example.FromString(serialized)
    except DecodeError:
        reading.complain("example", f"{where}: got {len(serialized)} bytes that are no "
                         "tf.train.Example", lost=True)  # fmt: skip
        return
    values = _features(example, where, reading)
    if values is None:
        return
    key = values["key"].decode("utf-8", "backslashreplace")
    where = f"{reading.shard}, example '{key}'"
    image = _image(values["image"], where, reading)
    mask = _mask(values["mask"], where, reading)
    if image is None or mask is None:
        return
    _check_sizes(image, mask, (values["height"], values["width"]), manifest.size, where, reading)
    _check_ids(mask, len(manifest.labels.classes), where, reading)
    reading.keys.append(key)
    reading.where.append(where)
    reading.thumbnails.append(duplicates.thumbnail(image))
    reading.counts += np.bincount(mask.ravel(), minlength=256)


def _features(example, where, reading):
    """Returns {feature: its one value}, or None after complaining."""
    values = {}
    for name, kind in FEATURES.items():
        feature = example.features.feature.get(name)
        got = feature.WhichOneof("kind") if feature else None
        found = getattr(feature, got).value if got else ()
        if got != kind or len(found) != 1:
            told = f"{len(found)} values in {got}" if got else "nothing"
            reading.complain("feature", f"{where}: feature '{name}' got {told}, expected one value "
                             f"in {kind}", lost=True)  # fmt: skip
            return None
        values[name] = found[0]
    return values


def _image(data, where, reading):
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB by the decoder that training uses, or None."""
    import tensorflow as tf

    try:
        return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        reading.complain("image", f"{where}: image cannot be decoded, got {len(data)} bytes "
                         f"({_short(error)}), expected JPEG or PNG", lost=True)  # fmt: skip


def _mask(data, where, reading):
    """PNG bytes -> (H, W) uint8, or None.

    TensorFlow would read a colour, 16-bit or JPEG mask too, and make other ids of it in silence.
    """
    import tensorflow as tf

    if not data.startswith(_PNG) or data[24:26] != _GRAY_8_BIT:
        reading.complain("mask", f"{where}: mask got another format, expected a PNG file with one "
                         "8-bit grey channel", lost=True)  # fmt: skip
        return None
    try:
        return tf.io.decode_png(data, channels=1).numpy()[..., 0]
    except tf.errors.OpError as error:
        reading.complain("mask", f"{where}: mask cannot be decoded, got {len(data)} bytes "
                         f"({_short(error)})", lost=True)  # fmt: skip


def _check_sizes(image, mask, features, expected, where, reading):
    """Image and mask must be alike, as the features say, and as the manifest says (or None)."""
    size = image.shape[:2]
    for name, got, wanted in (
        ("mask", mask.shape, ("image", size)),
        ("height and width features", features, ("image", size)),
        ("image", size, (FILE_NAME, expected or size)),
    ):
        if tuple(got) != tuple(wanted[1]):
            reading.complain("picture size", f"{where}: {name} got {got[0]}x{got[1]}, expected "
                             f"{wanted[1][0]}x{wanted[1][1]} by the {wanted[0]}")  # fmt: skip


def _check_ids(mask, num_classes, where, reading):
    ids = np.unique(mask)
    wrong = ids[(ids >= num_classes) & (ids != IGNORE_ID)]
    if wrong.size:
        pixels = int(np.isin(mask, wrong).sum())
        reading.complain("mask id", f"{where}: mask got ids {wrong[:5].tolist()} in {pixels} "
                         f"pixels, expected 0 to {num_classes - 1} or {IGNORE_ID}")  # fmt: skip
    if ids.tolist() == [IGNORE_ID]:
        reading.complain("nothing labelled", f"{where}: every pixel is ignored ({IGNORE_ID}), the "
                         "frame teaches nothing", warning=True)  # fmt: skip


def _short(error):
    """The telling part of a TensorFlow error, on one line."""
    message = str(error.message).split("}} ")[-1].split(" [Op:")[0]
    return " ".join(message.split())[:120]
