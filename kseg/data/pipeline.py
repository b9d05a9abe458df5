"""Input pipeline: TFRecord shards -> tf.data batches."""

import contextlib
import os
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from kseg import preprocess
from kseg.config import Config
from kseg.data import frame_cache, records
from kseg.data.augment import augment
from kseg.data.epoch_order import EpochOrder
from kseg.data.weather import weather
from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.manifest import Manifest, check_labelled, read_manifest
from kseg.paths import for_tensorflow, size_bytes, to_path
from kseg.preprocess import Size


def open_split(
    config: Config, name: str, labels: LabelSet | None = None
) -> tuple[Manifest, list[str]]:
    """Returns (Manifest, shard paths) of one split of config.data.

    Raises InputError when there is no such split, when none of its pixels has a class, when a shard
    is missing or has another size, when the frames were resized with another fit than config.fit,
    or when the classes differ from `labels`.
    """
    folder = config.data
    manifest = read_manifest(folder)
    _check_fit(config, manifest)
    if labels and manifest.labels.names != labels.names:
        raise InputError(
            f"{folder}: its classes are {manifest.labels.names}, the run's are {labels.names}"
        )
    if labels and manifest.labels.drivable_ids != labels.drivable_ids:
        raise InputError(
            f"{folder}: its drivable classes are {_drivable_names(manifest.labels)}, the run's are "
            f"{_drivable_names(labels)}"
        )
    if name not in manifest.splits:
        raise InputError(f"{folder}: no split '{name}'; it has {', '.join(manifest.splits)}")
    check_labelled(folder, manifest, name)
    paths = []
    for shard in manifest.splits[name].shards:
        path = to_path(folder) / shard.name
        size = size_bytes(path) if path.is_file() else None
        if size != shard.bytes:
            found = "no file" if size is None else f"{size} bytes"
            raise InputError(
                f"{path}: expected {shard.bytes} bytes, found {found}; build the data set again"
            )
        paths.append(for_tensorflow(path))
    return manifest, paths


def training_dataset(
    config: Config,
    split: str = "train",
    *,
    first_epoch: int = 0,
    first_step: int = 0,
    cache: str = "none",
    rank: int = 0,
    world_size: int = 1,
) -> tf.data.Dataset:
    """Returns an endless tf.data.Dataset of ((B, H, W, 3) uint8 RGB, (B, H, W) uint8 ids).

    The model casts. Order and augmentation depend only on the seed and the epoch, so a dataset that
    starts at batch first_step of first_epoch continues an interrupted one. cache: where decoded
    frames are kept, as in kseg.data.frame_cache.load_or_decode; the batches are the same. rank,
    world_size: as in kseg.data.epoch_order. Raises InputError as open_split does, and when there is
    no full batch.
    """
    manifest, paths = open_split(config, split)
    order = EpochOrder(
        config.seed,
        len(paths),
        config.batch_size,
        steps_per_epoch(config, manifest, split),
        first_epoch,
        first_step,
        rank,
        world_size,
    )
    frames = _cached_frames(config, manifest, paths, split, cache)
    cv2.setNumThreads(1)  # Batches are augmented in parallel; OpenCV's own threads slow this down.
    if frames:
        counts = [shard.examples for shard in manifest.splits[split].shards]
        batches = _batches_of_cached_frames(config, order, frames, counts)
    else:
        batches = _batches_of_records(config, order, paths, manifest.size)
    return batches.prefetch(tf.data.AUTOTUNE)


def evaluation_dataset(
    config: Config, split: str, *, pad_last: bool = False, rank: int = 0, world_size: int = 1
) -> tf.data.Dataset:
    """Returns a tf.data.Dataset of (image, mask) of labelled_frames, once, in the order on disk.

    pad_last: fill the last batch with black frames that have no labelled pixel, so that several
    devices can split it; required with a world_size above 1, where this is the rank-th of
    world_size equal slices of each batch.
    """
    batches = labelled_frames(config, split).map(lambda f: (f["image"], f["mask"]))
    if not pad_last:
        return batches
    per_host = config.batch_size // world_size

    def pad_and_slice(image, mask):
        missing = config.batch_size - tf.shape(mask)[0]
        image = tf.pad(image, [[0, missing], [0, 0], [0, 0], [0, 0]])
        mask = tf.pad(mask, [[0, missing], [0, 0], [0, 0]], constant_values=IGNORE_ID)
        image.set_shape((config.batch_size, *config.size, 3))
        mask.set_shape((config.batch_size, *config.size))
        return tuple(x[rank * per_host : (rank + 1) * per_host] for x in (image, mask))

    return batches.map(pad_and_slice)


def labelled_frames(config: Config, split: str, every: int = 1) -> tf.data.Dataset:
    """Returns a tf.data.Dataset of {"key", "image", "mask"} batches in the order on disk.

    image (B, H, W, 3) float32 RGB 0..255, mask (B, H, W) int32 ids.
    every: only each `every`-th frame, starting with the first; the others are not decoded.
    """
    manifest, paths = open_split(config, split)

    def prepare(serialized):
        example = records.parse(serialized)
        image, mask = _fit_example(example, config, manifest.size)
        image, mask = tf.cast(image, tf.float32), tf.cast(mask, tf.int32)
        return {"key": example["key"], "image": image, "mask": mask}

    raw = tf.data.TFRecordDataset(paths)
    # Keras' progress bar needs the length, and a shard that lost records fails here.
    raw = raw.apply(tf.data.experimental.assert_cardinality(manifest.splits[split].examples))
    dataset = raw.shard(every, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


def decode_ratio(stored_size: Size | None, config: Config) -> int:
    """Returns how much smaller a stored frame is decoded for training: 1, 2, 4 or 8.

    This is the largest ratio at which the decoded frame is no smaller than its place in a frame of
    config.size, and takes exactly the same place as its mask. Evaluation decodes at full size, as
    the runner in the car does.
    """
    for ratio in (8, 4, 2):
        if not stored_size or any(side % ratio for side in stored_size):
            continue
        decoded = (stored_size[0] // ratio, stored_size[1] // ratio)
        place = preprocess.placement(stored_size, config.size, config.fit)
        fits = place.height <= decoded[0] and place.width <= decoded[1]
        if fits and preprocess.placement(decoded, config.size, config.fit) == place:
            return ratio
    return 1


def steps_per_epoch(config: Config, manifest: Manifest, split: str = "train") -> int:
    """Number of full batches in an epoch. Raises InputError when there is none."""
    examples = manifest.splits[split].examples
    if examples < config.batch_size:
        raise InputError(
            f"{config.data}: split '{split}' has {examples} frames, fewer than batch_size "
            f"{config.batch_size}; use a smaller --batch-size"
        )
    return examples // config.batch_size


@contextlib.contextmanager
def raise_on_corrupt_record(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the error that tf.data raises when it reads a corrupt record into an InputError."""
    try:
        yield
    except tf.errors.DataLossError as error:
        raise InputError(
            f"{folder}: a record is corrupt; find it with python -m tfrecords_tools.verify {folder}"
        ) from error


def _drivable_names(labels):
    return [labels.names[i] for i in labels.drivable_ids]


def _check_fit(config, manifest):
    stored = manifest.request.get("fit")
    if manifest.request.get("size") and stored != config.fit:
        raise InputError(
            f"{config.data}: its frames were resized with fit '{stored}' but the config says "
            f"'{config.fit}'; use --fit {stored}, or build again with --fit {config.fit}"
        )


def _cached_frames(config, manifest, paths, split, cache):
    """Decodes all frames of a split, or loads them from the cache; None without a cache."""
    shards = manifest.splits[split].shards
    ratio = decode_ratio(manifest.size, config)

    def decode_frames():
        stored = tf.data.TFRecordDataset(paths)
        return stored.map(
            lambda serialized: _decode(serialized, config, manifest.size),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).as_numpy_iterator()

    return frame_cache.load_or_decode(
        cache,
        decode_frames,
        count=manifest.splits[split].examples,
        size=config.size,
        identity=(
            f"{[shard.sha256 for shard in shards]} {config.size} {config.fit} {ratio} "
            f"decode {records.DECODE_VERSION} fit {preprocess.FIT_VERSION}"
        ),
    )


def _batches_of_records(config, order, paths, stored_size):
    """Training batches whose frames are read and decoded in every epoch."""

    def read_shards(numbers):
        return tf.data.TFRecordDataset(tf.gather(tf.constant(paths), numbers))

    def decode(epoch, index, serialized):
        return epoch, index, *_decode(serialized, config, stored_size)

    def augment_frames(epochs, indices, images, masks):
        return _augment_batch(config, epochs, indices, images, masks)

    frames = order.elements(read_shards).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    batches = frames.batch(order.slice_size, drop_remainder=True)
    return _augmented(batches, augment_frames, config.size)


def _batches_of_cached_frames(config, order, cached, counts):
    """Training batches of frames that are decoded already. counts: examples of each shard."""
    ends = np.cumsum(counts)
    starts, ends = tf.constant(ends - counts, tf.int64), tf.constant(ends, tf.int64)

    def read_shards(numbers):
        """Positions in the cache, which has the order on disk."""
        shards = tf.data.Dataset.from_tensor_slices(numbers)
        return shards.flat_map(lambda i: tf.data.Dataset.range(starts[i], ends[i]))

    def augment_frames(epochs, indices, positions):
        images, masks = ([array[i] for i in positions] for array in cached)
        return _augment_batch(config, epochs, indices, images, masks)

    batches = order.elements(read_shards).batch(order.slice_size, drop_remainder=True)
    return _augmented(batches, augment_frames, config.size)


def _augmented(batches, augment_frames, size):
    """Calls a NumPy function on each batch: one call into Python per batch, not per frame."""

    def call(*batch):
        images, masks = tf.numpy_function(augment_frames, batch, [tf.uint8, tf.uint8])
        count = batch[0].shape[0]
        return tf.ensure_shape(images, (count, *size, 3)), tf.ensure_shape(masks, (count, *size))

    return batches.map(call, num_parallel_calls=tf.data.AUTOTUNE)


def _augment_batch(config, epochs, indices, images, masks):
    """Augments frames, each with random numbers of its own. Returns (images, masks)."""
    images_out = np.empty((len(images), *config.size, 3), np.uint8)
    masks_out = np.empty(images_out.shape[:3], np.uint8)
    for i, (epoch, index, image, mask) in enumerate(
        zip(epochs, indices, images, masks, strict=True)
    ):
        rng = np.random.default_rng([config.seed, epoch, index])
        augment(
            image,
            mask,
            rng,
            flip=config.flip,
            scale=(config.scale_min, config.scale_max),
            color_jitter=config.color_jitter,
            out=(images_out[i], masks_out[i]),
        )
        if config.weather:
            images_out[i] = weather(images_out[i], rng, config.weather)
    return images_out, masks_out


def _decode(serialized, config, stored_size):
    """One record as (image, mask) for training, decoded smaller where that loses no detail."""
    example = records.parse(serialized, decode_ratio(stored_size, config))
    return _fit_example(example, config, stored_size)


def _fit_example(example, config, stored_size):
    """Fits one example to the model's size. Returns (H, W, 3) uint8, (H, W) uint8."""
    image, mask = example["image"], example["mask"]
    if stored_size != config.size:

        def fit(image, mask):
            return (
                preprocess.fit_image(image, config.size, config.fit),
                preprocess.fit_mask(mask, config.size, config.fit),
            )

        image, mask = tf.numpy_function(fit, [image, mask], [tf.uint8, tf.uint8])
    return tf.ensure_shape(image, (*config.size, 3)), tf.ensure_shape(mask, config.size)
