"""TFRecord shards -> tf.data. The order of training examples is a function of seed and epoch."""

import contextlib

import cv2
import numpy as np
import tensorflow as tf

from kseg import preprocess
from kseg.data import frame_cache, records
from kseg.data.augment import augment
from kseg.data.weather import weather
from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import read_manifest
from kseg.paths import for_tensorflow, size_bytes, to_path

_SHUFFLE_BUFFER = 4096  # Serialized examples, some 100 MB at most.


def open_split(config, name, labels=None):
    """Returns (Manifest, shard paths) of one split of config.data.

    Raises InputError when the split is not there, when a shard is missing or of another size, when
    the frames were resized by another rule than config.fit, or when the classes are not `labels`'.
    """
    folder = config.data
    manifest = read_manifest(folder)
    _check_fit(config, manifest)
    if labels and manifest.labels.names != labels.names:
        raise InputError(
            f"{folder}: its classes are {manifest.labels.names}, the run's {labels.names}"
        )
    if labels and manifest.labels.drivable_ids != labels.drivable_ids:
        raise InputError(
            f"{folder}: its drivable classes are {_drivable(manifest.labels)}, the run's "
            f"{_drivable(labels)}"
        )
    if name not in manifest.splits:
        raise InputError(f"{folder}: no split '{name}'; it has {', '.join(manifest.splits)}")
    paths = []
    for shard in manifest.splits[name].shards:
        path = to_path(folder) / shard.name
        size = size_bytes(path) if path.is_file() else None
        if size != shard.bytes:
            got = "nothing" if size is None else f"{size} bytes"
            raise InputError(
                f"{path}: expected {shard.bytes} bytes, found {got}; build the data set again"
            )
        paths.append(for_tensorflow(path))
    return manifest, paths


def training_dataset(
    config, split="train", first_epoch=0, first_step=0, *, keep="none", share=(0, 1)
):
    """Returns an endless tf.data of ((B, H, W, 3) uint8 RGB, (B, H, W) uint8 ids); the model casts.

    Epochs follow each other, each of examples // batch_size whole batches, shuffled and augmented
    by (seed, epoch): starting at batch first_step of first_epoch gives what an uninterrupted run
    would see from there on. keep: where decoded frames are cached, as in
    kseg.data.frame_cache.load_or_decode, with the same result. share (k, n): the k-th of n equal
    parts of each batch, of the same frames as without. Raises InputError as open_split does.
    """
    manifest, paths = open_split(config, split)
    steps = steps_per_epoch(config, manifest, split)
    counts = [shard.examples for shard in manifest.splits[split].shards]
    frames = _kept_frames(config, manifest, paths, split, keep)
    cv2.setNumThreads(1)  # Batches are varied side by side; OpenCV's own threads cost more.
    part, parts = share
    held = config.batch_size // parts

    def epoch_dataset(epoch):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(paths)), seed=[config.seed, epoch]
        )
        stored = _numbers(counts, order) if frames else tf.data.TFRecordDataset(_at(paths, order))
        shuffled = _shuffle(stored, config.seed, epoch)
        seen = tf.where(epoch == first_epoch, first_step, 0) * config.batch_size
        numbered = (
            shuffled.enumerate().take(steps * config.batch_size).skip(tf.cast(seen, tf.int64))
        )
        if parts > 1:
            numbered = numbered.filter(lambda i, _: i % config.batch_size // held == part)
        return numbered.map(lambda index, example: (epoch, index, example))

    def decode(epoch, index, serialized):
        return epoch, index, *_decoded(serialized, config, manifest.size)

    def vary(epochs, indices, *examples):
        if frames:
            examples = [[kept[i] for i in examples[0]] for kept in frames]
        return _varied(config, list(zip(epochs, indices, *examples, strict=True)))

    def prepare(*batch):
        images, masks = tf.numpy_function(vary, batch, [tf.uint8, tf.uint8])
        images.set_shape((held, *config.size, 3))
        masks.set_shape((held, *config.size))
        return images, masks

    dataset = tf.data.Dataset.counter(start=first_epoch).flat_map(epoch_dataset)
    if not frames:
        dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(held, drop_remainder=True)
    # By batches: one call into Python for each.
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def evaluation_dataset(config, split, share=None):
    """Returns tf.data of (image, mask) of labelled_frames, once through, in the order on disk.

    share (k, n): the k-th of n equal parts of each batch; the last is filled up with black frames
    without a labelled pixel, so that devices can share it.
    """
    batches = labelled_frames(config, split).map(lambda f: (f["image"], f["mask"]))
    if not share:
        return batches
    part, held = share[0], config.batch_size // share[1]

    def cut(image, mask):
        missing = config.batch_size - tf.shape(mask)[0]
        image = tf.pad(image, [[0, missing], [0, 0], [0, 0], [0, 0]])
        mask = tf.pad(mask, [[0, missing], [0, 0], [0, 0]], constant_values=IGNORE_ID)
        image.set_shape((config.batch_size, *config.size, 3))
        mask.set_shape((config.batch_size, *config.size))
        return tuple(x[part * held : (part + 1) * held] for x in (image, mask))

    return batches.map(cut)


def labelled_frames(config, split, every=1):
    """Returns tf.data of {"key", "image", "mask"} batches in the order on disk.

    image (B, H, W, 3) float32 RGB 0..255, mask (B, H, W) int32 ids.
    every: only each such frame, the first included; the others are not even decoded.
    """
    manifest, paths = open_split(config, split)

    def prepare(serialized):
        example = records.parse(serialized)
        image, mask = _fitted(example, config, manifest.size)
        image, mask = tf.cast(image, tf.float32), tf.cast(mask, tf.int32)
        return {"key": example["key"], "image": image, "mask": mask}

    raw = tf.data.TFRecordDataset(paths)
    # Keras shows progress against it, and a shard that lost records fails here.
    raw = raw.apply(tf.data.experimental.assert_cardinality(manifest.splits[split].examples))
    dataset = raw.shard(every, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


def decode_ratio(stored_size, config):
    """Returns by how much a stored frame is decoded smaller for training: 1, 2, 4 or 8.

    The largest at which the decoded frame is not smaller than what config.size shows of it, and
    takes the very place of its mask. Evaluation decodes in full, as the car does.
    """
    for ratio in (8, 4, 2):
        if not stored_size or any(side % ratio for side in stored_size):
            continue
        decoded = tuple(side // ratio for side in stored_size)
        place = preprocess.placement(stored_size, config.size, config.fit)
        fits = place.height <= decoded[0] and place.width <= decoded[1]
        if fits and preprocess.placement(decoded, config.size, config.fit) == place:
            return ratio
    return 1


def steps_per_epoch(config, manifest, split="train"):
    """Whole batches in one pass. Raises InputError when there is not even one."""
    examples = manifest.splits[split].examples
    if examples < config.batch_size:
        raise InputError(
            f"{config.data}: split '{split}' has {examples} frames, fewer than batch_size "
            f"{config.batch_size}; give a smaller --batch-size"
        )
    return examples // config.batch_size


@contextlib.contextmanager
def raise_on_corrupt_record(folder):
    """Makes an InputError of a damaged record, which tf.data tells when it comes to it."""
    try:
        yield
    except tf.errors.DataLossError as error:
        raise InputError(
            f"{folder}: a record is damaged; python -m tfrecords_tools.verify {folder} tells which"
        ) from error


def _drivable(labels):
    return [labels.names[i] for i in labels.drivable_ids]


def _check_fit(config, manifest):
    stored = manifest.request.get("fit")
    if manifest.request.get("size") and stored != config.fit:
        raise InputError(
            f"{config.data}: its frames were resized with fit '{stored}' but the config says "
            f"'{config.fit}'; give --fit {stored}, or build again with --fit {config.fit}"
        )


def _kept_frames(config, manifest, paths, split, where):
    """Decodes a whole split, or finds it decoded: see kseg.data.frame_cache."""
    shards = manifest.splits[split].shards
    ratio = decode_ratio(manifest.size, config)
    identity = f"{[shard.sha256 for shard in shards]} {config.size} {config.fit} {ratio}"

    def frames():
        stored = tf.data.TFRecordDataset(paths)
        return stored.map(
            lambda serialized: _decoded(serialized, config, manifest.size),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).as_numpy_iterator()

    return frame_cache.load_or_decode(
        where, frames, manifest.splits[split].examples, config.size, identity
    )


def _at(paths, order):
    return tf.gather(tf.constant(paths), order)


def _numbers(counts, order):
    """Places in the order on disk of the examples of all shards, shard after shard by `order`."""
    ends = np.cumsum(counts)
    starts = tf.constant(ends - counts, tf.int64)
    ends = tf.constant(ends, tf.int64)
    shards = tf.data.Dataset.from_tensor_slices(order)
    return shards.flat_map(lambda i: tf.data.Dataset.range(starts[i], ends[i]))


def _varied(config, places):
    """Augments a batch of [(epoch, index, image, mask)], each by its own random numbers."""
    images = np.empty((len(places), *config.size, 3), np.uint8)
    masks = np.empty(images.shape[:3], np.uint8)
    for i, (epoch, index, image, mask) in enumerate(places):
        rng = np.random.default_rng([config.seed, epoch, index])
        augment(
            image,
            mask,
            rng,
            flip=config.flip,
            scale=(config.scale_min, config.scale_max),
            color_jitter=config.color_jitter,
            out=(images[i], masks[i]),
        )
        if config.weather:
            images[i] = weather(images[i], rng, config.weather)
    return images, masks


def _shuffle(dataset, seed, epoch):
    """Dataset.shuffle, but seeded by a tensor: the public method takes Python integers only."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=_SHUFFLE_BUFFER,
        seed=tf.constant(seed + 1, tf.int64),  # Two zeros would mean: seed from the clock.
        seed2=epoch,
        reshuffle_each_iteration=False,
        output_types=[dataset.element_spec.dtype],
        output_shapes=[[]],
    )
    return tf.data.experimental.from_variant(shuffled, dataset.element_spec)


def _decoded(serialized, config, stored_size):
    """One record as training sees it, decoded smaller where that shows no less."""
    example = records.parse(serialized, decode_ratio(stored_size, config))
    return _fitted(example, config, stored_size)


def _fitted(example, config, stored_size):
    """Brings one example to the model's size, by kseg.preprocess where it is of another.

    Returns (H, W, 3) uint8, (H, W) uint8.
    """
    image, mask = example["image"], example["mask"]
    if stored_size != config.size:

        def fit(image, mask):
            return (
                preprocess.fit_image(image, config.size, config.fit),
                preprocess.fit_mask(mask, config.size, config.fit),
            )

        image, mask = tf.numpy_function(fit, [image, mask], [tf.uint8, tf.uint8])
    return tf.ensure_shape(image, (*config.size, 3)), tf.ensure_shape(mask, config.size)
