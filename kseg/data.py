"""TFRecord shards -> tf.data. The order of training examples is a function of seed and epoch."""

import tensorflow as tf

from kseg import manifest, preprocess, records
from kseg.augment import augment
from kseg.errors import InputError
from kseg.paths import for_tensorflow, size_bytes, to_path

_SHUFFLE_BUFFER = 4096  # Serialized examples, some 100 MB at most.


def open_split(config, name, labels=None):
    """Returns (Manifest, shard paths) of one split of config.data.

    Raises InputError when the split is not there, when a shard is missing or of another size, when
    the frames were resized by another rule than config.fit, or when the classes are not `labels`'.
    """
    folder = config.data
    whole = manifest.read(folder)
    _check_fit(config, whole)
    if labels and whole.labels.names != labels.names:
        raise InputError(
            f"{folder}: its classes are {whole.labels.names}, the run's {labels.names}"
        )
    if name not in whole.splits:
        raise InputError(f"{folder}: no split '{name}'; it has {', '.join(whole.splits)}")
    paths = []
    for shard in whole.splits[name].shards:
        path = to_path(folder) / shard.name
        size = size_bytes(path) if path.is_file() else None
        if size != shard.bytes:
            got = "nothing" if size is None else f"{size} bytes"
            raise InputError(
                f"{path}: expected {shard.bytes} bytes, found {got}; build the data set again"
            )
        paths.append(for_tensorflow(path))
    return whole, paths


def training_dataset(config, split="train", first_epoch=0):
    """Returns an endless tf.data of ((B, H, W, 3) float32 RGB 0..255, (B, H, W) int32 ids).

    Epochs follow each other, each of examples // batch_size whole batches, shuffled and augmented
    by (seed, epoch): starting at first_epoch gives what an uninterrupted run would see.
    """
    whole, paths = open_split(config, split)
    steps = steps_per_epoch(config, whole, split)

    def epoch_dataset(epoch):
        files = tf.random.experimental.stateless_shuffle(paths, seed=[config.seed, epoch])
        raw = _shuffle(tf.data.TFRecordDataset(files), config.seed, epoch)
        numbered = raw.enumerate().take(steps * config.batch_size)
        return numbered.map(lambda index, example: (epoch, index, example))

    def prepare(epoch, index, serialized):
        image, mask = _fitted(records.parse(serialized), config, whole.size)
        return augment(
            image,
            mask,
            tf.stack([config.seed + 7919 * epoch, index]),
            flip=config.flip,
            scale=(config.scale_min, config.scale_max),
            color_jitter=config.color_jitter,
        )

    epochs = tf.data.Dataset.counter(start=first_epoch)
    dataset = epochs.flat_map(epoch_dataset)
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_dataset(config, split):
    """Returns tf.data of (image, mask) batches as above, once through, in the order on disk."""
    return labelled_frames(config, split).map(lambda f: (f["image"], f["mask"]))


def labelled_frames(config, split, every=1):
    """Returns tf.data of {"key", "image", "mask"} batches in the order on disk.

    every: only each such frame, the first included; the others are not even decoded.
    """
    whole, paths = open_split(config, split)

    def prepare(serialized):
        example = records.parse(serialized)
        image, mask = _fitted(example, config, whole.size)
        return {"key": example["key"], "image": image, "mask": mask}

    raw = tf.data.TFRecordDataset(paths)
    # Keras shows progress against it, and a shard that lost records fails here.
    raw = raw.apply(tf.data.experimental.assert_cardinality(whole.splits[split].examples))
    dataset = raw.shard(every, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(config, whole, split="train"):
    """Whole batches in one pass. Raises InputError when there is not even one."""
    examples = whole.splits[split].examples
    if examples < config.batch_size:
        raise InputError(
            f"{config.data}: split '{split}' has {examples} frames, fewer than batch_size "
            f"{config.batch_size}; give a smaller --batch-size"
        )
    return examples // config.batch_size


def _check_fit(config, whole):
    stored = whole.request.get("fit")
    if whole.request.get("size") and stored != config.fit:
        raise InputError(
            f"{config.data}: its frames were resized with fit '{stored}' but the config says "
            f"'{config.fit}'; give --fit {stored}, or build again with --fit {config.fit}"
        )


def _shuffle(serialized, seed, epoch):
    """Dataset.shuffle, but seeded by a tensor: the public method takes Python integers only."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(serialized),
        buffer_size=_SHUFFLE_BUFFER,
        seed=tf.constant(seed + 1, tf.int64),  # Two zeros would mean: seed from the clock.
        seed2=epoch,
        reshuffle_each_iteration=False,
        output_types=[tf.string],
        output_shapes=[[]],
    )
    return tf.data.experimental.from_variant(shuffled, tf.TensorSpec([], tf.string))


def _fitted(example, config, stored_size):
    """Brings one example to the model's size, by kseg.preprocess where it is of another."""
    image, mask = example["image"], example["mask"]
    if stored_size != config.size:

        def fit(image, mask):
            return (
                preprocess.fit_image(image, config.size, config.fit),
                preprocess.fit_mask(mask, config.size, config.fit),
            )

        image, mask = tf.numpy_function(fit, [image, mask], [tf.uint8, tf.uint8])
    image = tf.ensure_shape(image, (*config.size, 3))
    mask = tf.ensure_shape(mask, config.size)
    return tf.cast(image, tf.float32), tf.cast(mask, tf.int32)
