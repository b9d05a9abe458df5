"""The schema of one tf.train.Example, written and read in one place.

| feature | type  | what                                                             |
|---------|-------|------------------------------------------------------------------|
| key     | bytes | name of the frame, unique in its split                           |
| image   | bytes | JPEG or PNG file, RGB, (height, width, 3) uint8                  |
| mask    | bytes | PNG file, (height, width, 1) uint8 class ids, 255 ignored        |
| height  | int64 | of both, pixels                                                  |
| width   | int64 | of both, pixels                                                  |
"""

import tensorflow as tf

_SCHEMA = {
    "key": tf.io.FixedLenFeature([], tf.string),
    "image": tf.io.FixedLenFeature([], tf.string),
    "mask": tf.io.FixedLenFeature([], tf.string),
    "height": tf.io.FixedLenFeature([], tf.int64),
    "width": tf.io.FixedLenFeature([], tf.int64),
}


def encode(key, image_file, mask_png, size):
    """Returns the serialized Example (bytes) of a frame.

    key str; image_file bytes of a JPEG or PNG file; mask_png bytes; size (height, width).
    """
    features = {
        "key": _bytes(key.encode()),
        "image": _bytes(image_file),
        "mask": _bytes(mask_png),
        "height": _int64(size[0]),
        "width": _int64(size[1]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Deterministic: map order is otherwise free to change, and builds must repeat to the byte.
    return example.SerializeToString(deterministic=True)


def parse(serialized, ratio=1):
    """Serialized Example, scalar string -> {"key": string, "image": (H, W, 3) uint8 RGB,
    "mask": (H, W) uint8 ids}. Raises tf.errors.InvalidArgumentError on a damaged record.

    ratio 2, 4 or 8: a JPEG image is decoded to that fraction of its size, each pixel the mean of a
    square, by leaving coefficients out: much faster than decoding and resizing. PNG images stay.
    """
    example = tf.io.parse_single_example(serialized, _SCHEMA)
    file = example["image"]

    def decode():
        # expand_animations=False keeps the rank static; the op reads JPEG and PNG alike.
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    if ratio == 1:
        image = decode()
    else:
        image = tf.cond(
            tf.io.is_jpeg(file), lambda: tf.io.decode_jpeg(file, channels=3, ratio=ratio), decode
        )
    mask = tf.io.decode_png(example["mask"], channels=1)[..., 0]
    return {"key": example["key"], "image": image, "mask": mask}


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
