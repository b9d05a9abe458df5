"""Statistics of one split: pixels by class, where each class lies, and how bright frames are."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import cv2
import numpy as np

from kseg import image_file
from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import Manifest
from kseg.paths import for_tensorflow, to_path
from kseg.preprocess import Size

HEAT_SIDE = 64  # Cells along the longer side of a heat map.
NIGHT_MAX = 90  # Luma. A valley above it separates dull from sunny days, not night from day.


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of one split.

    counts: (256,) int64 pixels of each mask id. present: (256,) int64 frames in which it occurs.
    heat: {id: (h, w) float64, mean over frames of the id's share of each cell, 0..1}.
    luma: (frames,) float64 mean Rec. 601 luma of each frame, 0..255. keys: names of the frames.
    sizes: {(height, width): frames}. formats: {"JPEG" or "JPEG, EXIF orientation 6", ...: frames}.
    """

    counts: np.ndarray
    present: np.ndarray
    heat: dict[int, np.ndarray]
    luma: np.ndarray
    keys: list[str]
    sizes: dict[Size, int]
    formats: dict[str, int]


def compute_statistics(
    folder: PathLike | str, manifest: Manifest, split: str, advance: Callable[[], None]
) -> SplitStatistics:
    """Reads one split, calls advance() after each frame, and returns its SplitStatistics.

    Raises InputError when a shard is missing or corrupt.
    """
    ids = [*range(len(manifest.labels.classes)), IGNORE_ID]
    counts, present = np.zeros((2, 256), np.int64)
    luma, keys = [], []
    heat: dict[int, np.ndarray] = {}
    sizes: Counter[Size] = Counter()
    formats: Counter[str] = Counter()
    for key, file, image, mask in _frames(folder, manifest, split):
        if not heat:
            heat = {i: np.zeros(_heat_size(manifest.size or mask.shape)) for i in ids}
        pixels = np.bincount(mask.ravel(), minlength=256)
        counts += pixels
        present += pixels > 0
        for i in np.flatnonzero(pixels).tolist():
            if i in heat:
                heat[i] += _cell_shares(mask == i, heat[i].shape)
        luma.append(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
        keys.append(key)
        sizes[mask.shape] += 1
        formats[format_of(file)] += 1
        advance()
    heat = {i: total / len(keys) for i, total in heat.items()}
    return SplitStatistics(counts, present, heat, np.array(luma), keys, dict(sizes), dict(formats))


def format_of(file: bytes) -> str:
    """Returns an image file's format, and its EXIF orientation unless that is upright."""
    header = image_file.read_header(file)
    tag = f", EXIF orientation {header.orientation}" if header.orientation != 1 else ""
    return header.format + tag


def _heat_size(size):
    scale = HEAT_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _cell_shares(is_class: np.ndarray, cells: Size) -> np.ndarray:
    """(H, W) bool -> `cells` (h, w) float32: the share of true pixels in each cell."""
    return cv2.resize(is_class.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)


def _frames(folder, manifest, split):
    """Yields (key str, image file bytes, image (H, W, 3) uint8 RGB, mask (H, W) uint8)."""
    import tensorflow as tf

    from kseg.data import records

    schema = {"image": tf.io.FixedLenFeature([], tf.string)}

    def parse_one(serialized):
        return tf.io.parse_single_example(serialized, schema)["image"], records.parse(serialized)

    def parse(serialized):
        return serialized.map(parse_one, num_parallel_calls=tf.data.AUTOTUNE)

    for file, example in _read(folder, manifest, split, parse):
        key = example["key"].decode("utf-8", "backslashreplace")
        yield key, file, example["image"], example["mask"]


def _read(
    folder: PathLike | str, manifest: Manifest, split: str, transform: Callable
) -> Iterator[Any]:
    """Yields the NumPy values of transform(tf.data.Dataset of the split's serialized examples)."""
    import tensorflow as tf

    paths = [to_path(folder) / shard.name for shard in manifest.splits[split].shards]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such shard; build the data set again")
    try:
        serialized = tf.data.TFRecordDataset([for_tensorflow(path) for path in paths])
        yield from transform(serialized).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise InputError(
            f"{folder}, split '{split}': a record is corrupt; find it with "
            f"`python -m tfrecords_tools.verify {folder}`"
        ) from error


def load_frames(
    folder: PathLike | str, manifest: Manifest, split: str, indices: list[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Returns {index: (image, mask)} of the frames at these indices of the split."""
    from kseg.data import records

    wanted, frames = set(indices), {}
    # All records up to the last index are read, but only these are decoded, which is fast.
    for index, serialized in enumerate(_read(folder, manifest, split, lambda dataset: dataset)):
        if index in wanted:
            example = records.parse(serialized)
            frames[index] = example["image"].numpy(), example["mask"].numpy()
            if len(frames) == len(wanted):
                break
    return frames


def choose_frames(
    statistics: dict[str, SplitStatistics], count: int, seed: int
) -> list[tuple[str, int]]:
    """Chooses `count` frames at random, spread evenly over brightness.

    statistics: {split: SplitStatistics}. All frames are ranked by luma and divided into `count`
    bins of equal size; one frame is drawn from each. Returns (split, index), dark to bright.
    """
    ranked = sorted(
        (luma, split, index)
        for split, values in statistics.items()
        for index, luma in enumerate(values.luma)
    )
    count = min(count, len(ranked))
    rng = np.random.default_rng(seed)
    bins = np.array_split(np.arange(len(ranked)), count) if count else []
    return [ranked[rng.choice(ranks)][1:] for ranks in bins]


def dark_threshold(luma: np.ndarray) -> int | None:
    """Returns the luma that separates night from day frames, or None if there is no clear one.

    luma: (N,) 0..255. The threshold is the deepest valley of the smoothed histogram up to
    NIGHT_MAX, provided that it is at most 3/4 as high as the lower of the two peaks beside it and
    that 5 % of the frames lie on either side. Otsu's threshold suits peaks of equal size, but night
    is often the small one. On 750 demo frames, one in five of them at night, the threshold is 66,
    with 17 % below; CamVid, with dusk and day but no gap between them, has none.
    """
    if len(luma) < 50:
        return None
    density = np.histogram(luma, 256, (0, 256))[0].astype(float)
    kernel = np.exp(-0.5 * (np.arange(-20, 21) / 7) ** 2)
    density = np.convolve(density, kernel / kernel.sum(), "same")
    darker_share = np.searchsorted(np.sort(luma), np.arange(256)) / len(luma)
    left_peak = np.maximum.accumulate(density)
    right_peak = np.maximum.accumulate(density[::-1])[::-1]
    allowed = (darker_share >= 0.05) & (darker_share <= 0.95) & (np.arange(256) <= NIGHT_MAX)
    depth = np.full(256, np.inf)
    np.divide(density, np.minimum(left_peak, right_peak), out=depth, where=allowed)
    if depth.min() > 0.75:
        return None
    # The middle, in case the bottom of the valley is flat.
    return round(float(np.flatnonzero(depth <= depth.min() + 1e-9).mean()))
