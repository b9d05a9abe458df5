"""Training-time variety: (image, mask, seed) -> (image, mask), the same for the same seed.

Stateless TensorFlow ops: ten times faster in a tf.data pipeline than Keras' augmentation layers,
and masks keep their ids.
"""

import tensorflow as tf

from kseg.labels import IGNORE_ID


def augment(image, mask, seed, *, flip, scale, color_jitter):
    """Augments one example.

    image (H, W, 3) float32 in [0, 255]; mask (H, W) integer ids; seed (2,) int64; flip bool;
    scale (min, max) of the random zoom, after which a window of the old size is cut at random
    (or, zoomed out, the picture is placed at random, what lies outside is ignored);
    color_jitter 0..1. Returns image and mask, shapes and dtypes unchanged.
    """
    draws = tf.unstack(tf.random.stateless_uniform([7], seed))
    if tuple(scale) != (1.0, 1.0):
        image, mask = _move(image, mask, draws[:4], flip, scale)
    elif flip:
        image, mask = _mirror(image, mask, draws[3])
    if color_jitter:
        image = _recolor(image, draws[4:], color_jitter)
    return image, mask


def _mirror(image, mask, draw):
    """What _move does without a zoom, many times faster: no pixel needs interpolation."""
    mirrored = tf.cond(
        draw < 0.5,
        lambda: (tf.reverse(image, [1]), tf.reverse(mask, [1])),
        lambda: (image, mask),
    )
    return tuple(tf.ensure_shape(m, x.shape) for m, x in zip(mirrored, (image, mask), strict=True))


def _move(image, mask, draws, flip, scale):
    """Mirrors, zooms and shifts image and mask by one transform, so they cannot part."""
    height, width = image.shape[:2]
    zoom = scale[0] + (scale[1] - scale[0]) * draws[0]
    top, left = draws[1] * height * (1 - zoom), draws[2] * width * (1 - zoom)
    # Output pixel x shows input pixel (x + 0.5 - left) / zoom - 0.5.
    step_x, start_x = 1 / zoom, (0.5 - left) / zoom - 0.5
    step_y, start_y = 1 / zoom, (0.5 - top) / zoom - 0.5
    if flip:
        mirrored = draws[3] < 0.5
        step_x = tf.where(mirrored, -step_x, step_x)
        start_x = tf.where(mirrored, width - 1 - start_x, start_x)
    transform = tf.stack([step_x, 0.0, start_x, 0.0, step_y, start_y, 0.0, 0.0])[None]

    def moved(array, interpolation, fill):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=array[None],
            transforms=transform,
            output_shape=[height, width],
            fill_value=fill,
            interpolation=interpolation,
            fill_mode="CONSTANT",
        )[0]

    # Nearest: bilinear would invent class ids along borders.
    moved_mask = moved(tf.cast(mask, tf.int32)[..., None], "NEAREST", IGNORE_ID)[..., 0]
    moved_image = moved(image, "BILINEAR", 0)
    moved_image.set_shape(image.shape)
    moved_mask.set_shape(mask.shape)
    return moved_image, tf.cast(moved_mask, mask.dtype)


def _recolor(image, draws, amount):
    """Random saturation, contrast and brightness, each by up to `amount`."""
    saturation, contrast, brightness = (1 + amount * (2 * d - 1) for d in draws)
    gray = tf.reduce_mean(image, axis=-1, keepdims=True)
    image = gray + (image - gray) * saturation
    mean = tf.reduce_mean(gray)
    image = mean * brightness + (image - mean) * contrast
    return tf.clip_by_value(image, 0.0, 255.0)
