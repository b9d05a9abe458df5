"""Reads and writes one tf.train.Example of a TFRecord shard.

| feature | type  | content                                                          |
|---------|-------|------------------------------------------------------------------|
| key     | bytes | name of the frame, unique in its split                           |
| image   | bytes | upright JPEG or PNG file, RGB, (height, width, 3) uint8          |
| mask    | bytes | PNG file, (height, width, 1) uint8 class ids, 255 is ignored     |
| height  | int64 | height of both, pixels                                           |
| width   | int64 | width of both, pixels                                            |
"""

import tensorflow as tf

from kseg.preprocess import Size

# Part of the identity of cached frames and recorded scores. Increase it with every change to
# `parse` that gives other pixels, and increase SCORES_VERSION of kseg.evaluation.scores too.
DECODE_VERSION = 2

_SCHEMA = {
    "key": tf.io.FixedLenFeature([], tf.string),
    "image": tf.io.FixedLenFeature([], tf.string),
    "mask": tf.io.FixedLenFeature([], tf.string),
    "height": tf.io.FixedLenFeature([], tf.int64),
    "width": tf.io.FixedLenFeature([], tf.int64),
}


def encode(key: str, image_file: bytes, mask_png: bytes, size: Size) -> bytes:
    """Returns the serialized Example of a frame.

    image_file: content of a JPEG or PNG file; mask_png: content of a PNG file; size: of both.
    """
    features = {
        "key": _bytes(key.encode()),
        "image": _bytes(image_file),
        "mask": _bytes(mask_png),
        "height": _int64(size[0]),
        "width": _int64(size[1]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Without this, the order of the features may change, and builds must be byte-identical.
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor, ratio: int = 1) -> dict[str, tf.Tensor]:
    """Decodes a serialized Example (scalar string).

    Returns {"key": string, "image": (H, W, 3) uint8 RGB, "mask": (H, W) uint8 ids}. ratio 2, 4 or
    8: decode a JPEG image at that fraction of its size. Each pixel is then the mean of a square,
    which leaves out coefficients and is much faster than decoding and resizing. PNG images keep
    their size. Raises tf.errors.InvalidArgumentError for a corrupt record.
    """
    example = tf.io.parse_single_example(serialized, _SCHEMA)
    image = decode_image(example["image"], ratio)
    mask = tf.io.decode_png(example["mask"], channels=1)[..., 0]
    return {"key": example["key"], "image": image, "mask": mask}


def decode_image(file: tf.Tensor, ratio: int = 1) -> tf.Tensor:
    """Decodes a stored JPEG or PNG file (scalar string): (H, W, 3) uint8 RGB.

    The pixels at ratio 1 are those of kseg.image_file, which the runners use. TensorFlow's default
    IDCT differs from them in half of all values, by up to 17 of 255.
    """
    return tf.cond(
        tf.io.is_jpeg(file),
        lambda: tf.io.decode_jpeg(file, 3, ratio, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(file, 3),
    )


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
