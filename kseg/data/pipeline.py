"""Input pipeline: TFRecord shards -> tf.data batches."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from kseg import preprocess
from kseg.config import Config, frames_of_batch
from kseg.data import frame_cache, records
from kseg.data.augment import augment
from kseg.data.epoch_order import EpochOrder
from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.manifest import Manifest, check_labelled, read_manifest
from kseg.mixture import read_mixture
from kseg.paths import for_tensorflow, size_bytes, to_path
from kseg.preprocess import Size


def _leave_gpus_to_backend() -> None:
    """Hides GPUs from TensorFlow where it only reads data: it would take their memory from JAX."""
    if keras.backend.backend() != "tensorflow" and tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")


_leave_gpus_to_backend()


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
    starts at batch first_step of first_epoch continues an interrupted one. An epoch is one pass
    over config.data. The frames of config.also follow in passes of their own, of which each shows
    every frame once; the ids of their masks are those of kseg.mixture.

    cache: where decoded frames are kept, as in kseg.data.frame_cache.load_or_decode; the batches
    are the same. rank, world_size: only the rank-th of world_size equal slices of each batch.
    Raises InputError as open_split and read_mixture do, and when there is no full batch.
    """
    mixture = read_mixture(config)
    paths = [
        open_split(dataclasses.replace(config, data=part.data), split)[1] for part in mixture.parts
    ]
    cached = _cached_frames(config, mixture, paths, split, cache)
    if cached:
        readers = _cache_readers(mixture, split)
    else:
        readers = [_record_reader(shards) for shards in paths]
    elements = _elements(config, mixture, split, readers, (first_epoch, first_step))
    elements = _slice(elements, config.batch_size, rank, world_size)
    count = config.batch_size // world_size
    if cached:
        batches = _batches_of_cached_frames(config, elements, cached, count)
    else:
        batches = _batches_of_records(config, elements, mixture, count)
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
    examples, (needed, *others) = manifest.splits[split].examples, frames_of_batch(config)
    if examples < needed:
        raise InputError(
            f"{config.data}: split '{split}' has {examples} frames, fewer than "
            + (f"the {needed} of a batch" if others else f"batch_size {needed}")
            + "; use a smaller --batch-size"
        )
    return examples // needed


@contextlib.contextmanager
def raise_on_corrupt_record(*folders: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the error that tf.data raises when it reads a corrupt record into an InputError."""
    try:
        yield
    except tf.errors.DataLossError as error:
        commands = " and ".join(f"python -m tfrecords_tools.verify {f}" for f in folders)
        raise InputError(
            f"{' or '.join(map(str, folders))}: a record is corrupt; find it with {commands}"
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


def _cached_frames(config, mixture, paths, split, cache):
    """Decodes all frames of a split, or loads them from the cache; None without a cache."""
    main = mixture.parts[0].manifest
    shards = [shard for part in mixture.parts for shard in part.manifest.splits[split].shards]
    ratio = decode_ratio(main.size, config)
    decode = _decoder(config, mixture)

    def decode_part(number):
        stored = tf.data.TFRecordDataset(paths[number])
        frames = stored.map(lambda s: decode(number, s), num_parallel_calls=tf.data.AUTOTUNE)
        return frames.as_numpy_iterator()

    identity = (
        f"{[shard.sha256 for shard in shards]} {config.size} {config.fit} {ratio} "
        f"decode {records.DECODE_VERSION} fit {preprocess.FIT_VERSION}"
    )
    if len(mixture.parts) > 1:
        identity += f" {[part.ids for part in mixture.parts]}"
    return frame_cache.load_or_decode(
        cache,
        lambda: itertools.chain.from_iterable(map(decode_part, range(len(paths)))),
        count=sum(shard.examples for shard in shards),
        size=config.size,
        identity=identity,
    )


def _record_reader(paths):
    """Returns a function (numbers of shards) -> Dataset of their serialized examples."""
    return lambda numbers: tf.data.TFRecordDataset(tf.gather(tf.constant(paths), numbers))


def _cache_readers(mixture, split):
    """Returns for each part a function (numbers of shards) -> Dataset of positions in the cache."""

    def reader(starts, ends):
        def read_shards(numbers):
            shards = tf.data.Dataset.from_tensor_slices(numbers)
            return shards.flat_map(lambda i: tf.data.Dataset.range(starts[i], ends[i]))

        return read_shards

    readers, total = [], 0
    for part in mixture.parts:
        counts = np.array([shard.examples for shard in part.manifest.splits[split].shards])
        ends = total + np.cumsum(counts)
        readers.append(reader(tf.constant(ends - counts), tf.constant(ends)))
        total = ends[-1]
    return readers


def _elements(config, mixture, split, readers, start):
    """Endless Dataset of (part, epoch, index, element), batch after batch.

    readers: for each part, a function (numbers of shards) -> Dataset of elements. start: epoch and
    step.
    """
    steps = steps_per_epoch(config, mixture.parts[0].manifest, split)
    steps_done = start[0] * steps + start[1]
    streams = []
    for number, (part, read_shards) in enumerate(zip(mixture.parts, readers, strict=True)):
        stored = part.manifest.splits[split]
        if number == 0:
            order = EpochOrder(config.seed, len(stored.shards), part.frames, steps, *start)
        else:
            # An epoch of this order is a pass over all its frames, in "batches" of one.
            first = divmod(steps_done * part.frames, stored.examples)
            seed = config.seed + number * 2**31  # Another one: else sets of equal size go in pairs.
            order = EpochOrder(seed, len(stored.shards), 1, stored.examples, *first)
        streams.append(_numbered(order.elements(read_shards), number))
    if len(streams) == 1:
        return streams[0]
    pattern = tf.data.Dataset.from_tensor_slices(tf.constant(mixture.pattern, tf.int64))
    return tf.data.Dataset.choose_from_datasets(streams, pattern.repeat())


def _numbered(elements, part):
    return elements.map(lambda epoch, index, element: (part, epoch, index, element))


def _slice(elements, batch_size, rank, world_size):
    """Leaves only the rank-th of world_size equal slices of each batch."""
    if world_size == 1:
        return elements
    size = batch_size // world_size
    numbered = elements.enumerate().filter(lambda i, _: i % batch_size // size == rank)
    return numbered.map(lambda _, element: element)


def _batches_of_records(config, elements, mixture, count):
    """Training batches whose frames are read and decoded in every epoch."""
    decode = _decoder(config, mixture)

    def decode_element(part, epoch, index, serialized):
        return part, epoch, index, *decode(part, serialized)

    def augment_frames(parts, epochs, indices, images, masks):
        return _augment_batch(config, (parts, epochs, indices), images, masks)

    frames = elements.map(decode_element, num_parallel_calls=tf.data.AUTOTUNE)
    return _augmented(frames.batch(count, drop_remainder=True), augment_frames, config.size)


def _batches_of_cached_frames(config, elements, cached, count):
    """Training batches of frames that are decoded already."""

    def augment_frames(parts, epochs, indices, positions):
        images, masks = ([array[i] for i in positions] for array in cached)
        return _augment_batch(config, (parts, epochs, indices), images, masks)

    return _augmented(elements.batch(count, drop_remainder=True), augment_frames, config.size)


def _augmented(batches, augment_frames, size):
    """Calls a NumPy function on each batch: one call into Python per batch, not per frame."""

    def call(*batch):
        images, masks = tf.numpy_function(augment_frames, batch, [tf.uint8, tf.uint8])
        count = batch[0].shape[0]
        return tf.ensure_shape(images, (count, *size, 3)), tf.ensure_shape(masks, (count, *size))

    return batches.map(call, num_parallel_calls=tf.data.AUTOTUNE)


def _augment_batch(config, places, images, masks):
    """Augments frames, each with random numbers of its own. Returns (images, masks).

    places: (parts, epochs, indices) of the frames, which seed these numbers.
    """
    images_out = np.empty((len(images), *config.size, 3), np.uint8)
    masks_out = np.empty(images_out.shape[:3], np.uint8)
    for i, (part, epoch, index, image, mask) in enumerate(zip(*places, images, masks, strict=True)):
        # Part 0, the main data set, has the numbers that it has without others: NumPy fills a seed
        # of less than four words with zeros.
        rng = np.random.default_rng([config.seed, epoch, index, part])
        augment(
            image,
            mask,
            rng,
            flip=config.flip,
            scale=(config.scale_min, config.scale_max),
            color_jitter=config.color_jitter,
            weather=config.weather,
            out=(images_out[i], masks_out[i]),
        )
    return images_out, masks_out


def _decoder(config, mixture):
    """Returns a function (part, record) -> (image, mask with the ids of the mixture)."""
    stored_size = mixture.parts[0].manifest.size
    ids = tf.constant([part.ids for part in mixture.parts], tf.uint8)

    def decode(part, serialized):
        image, mask = _decode(serialized, config, stored_size)
        if len(mixture.parts) > 1:
            mask = tf.gather(ids[part], tf.cast(mask, tf.int32))
        return image, mask

    return decode


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
