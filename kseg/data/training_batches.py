"""Training batches: order, cache and augmentation of the frames of one or more data sets."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from kseg import preprocess
from kseg.config import Config
from kseg.data import frame_cache, pipeline, records
from kseg.data.augment import augment
from kseg.data.epoch_order import EpochOrder
from kseg.mixture import read_mixture
from kseg.preprocess import Size


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
    Raises InputError as pipeline.open_split and read_mixture do, and when there is no full batch.
    """
    mixture = read_mixture(config)
    configs = [dataclasses.replace(config, data=part.data) for part in mixture.parts]
    paths = [pipeline.open_split(part, split)[1] for part in configs]
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
    steps = pipeline.steps_per_epoch(config, mixture.parts[0].manifest, split)
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
    return pipeline.fit_example(example, config, stored_size)
