"""Reads splits: TFRecord shards -> tf.data batches of labelled frames, in the order on disk.

kseg.data.training_batches has the batches of training.
"""

import contextlib
import os
from collections.abc import Iterator

import keras
import tensorflow as tf

from kseg import preprocess
from kseg.config import Config, frames_of_batch
from kseg.data import records
from kseg.errors import InputError
from kseg.labels import IGNORE_ID, LabelSet
from kseg.manifest import Manifest, check_labelled, read_manifest
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
    when they have bars or cut edges of another aspect ratio than config.size, or when the classes
    differ from `labels`.
    """
    folder = config.data
    manifest = read_manifest(folder)
    _check_fit(config, manifest)
    _check_fitted_once(config, manifest)
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


def evaluation_dataset(
    config: Config, split: str, *, pad_last: bool = False, rank: int = 0, world_size: int = 1
) -> tf.data.Dataset:
    """Returns a tf.data.Dataset of (image, mask) of labelled_frames, once, in the order on disk.

    As in training, both are uint8, which the model casts: a quarter of the bytes to copy.

    pad_last: fill the last batch with black frames that have no labelled pixel, so that several
    devices can split it; required with a world_size above 1, where this is the rank-th of
    world_size equal slices of each batch.
    """
    batches = _frames(config, split).map(lambda f: (f["image"], f["mask"]))
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

    def cast(frames):
        image, mask = tf.cast(frames["image"], tf.float32), tf.cast(frames["mask"], tf.int32)
        return {"key": frames["key"], "image": image, "mask": mask}

    return _frames(config, split, every).map(cast)


def _frames(config, split, every=1):
    """labelled_frames with image and mask as uint8."""
    manifest, paths = open_split(config, split)

    def prepare(serialized):
        example = records.parse(serialized)
        image, mask = fit_example(example, config, manifest.size)
        return {"key": example["key"], "image": image, "mask": mask}

    raw = tf.data.TFRecordDataset(paths)
    # Keras' progress bar needs the length, and a shard that lost records fails here.
    raw = raw.apply(tf.data.experimental.assert_cardinality(manifest.splits[split].examples))
    dataset = raw.shard(every, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


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


def _check_fitted_once(config, manifest):
    """Raises InputError where stored bars or cut edges would be followed by others."""
    was_resized = manifest.size and manifest.request.get("size")
    if not was_resized or manifest.reframed == 0 or config.fit == "stretch":
        return
    place = preprocess.placement(manifest.size, config.size, config.fit)
    # Scaled sizes are rounded, so equal aspect ratios may differ by a pixel.
    if max(abs(place.height - config.size[0]), abs(place.width - config.size[1])) <= 1:
        return
    stored_size, size = ("x".join(map(str, s)) for s in (manifest.size, config.size))
    done = {"letterbox": "bars", "crop": "cut edges"}[config.fit]
    may = "may have" if manifest.reframed is None else "have"
    raise InputError(
        f"{config.data}: its frames {may} {done} that fit {stored_size}, and would get others "
        f"for {size}, but in the car a frame is fitted once; build the data set with --size "
        f"{' '.join(map(str, config.size))}, or use a --size of the same aspect ratio"
    )


def fit_example(
    example: dict[str, tf.Tensor], config: Config, stored_size: Size | None
) -> tuple[tf.Tensor, tf.Tensor]:
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
