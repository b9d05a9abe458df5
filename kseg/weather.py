"""Bad days for training: fog, night, rain, blur and JPEG artefacts, the same for the same seed.

They change the picture only; every pixel stays where its mask has it. Drawn, not physical: enough
that a model does not lean on clear daylight (compare arXiv:1903.12261, whose corruptions these
follow in spirit). Stateless TensorFlow ops, as in kseg.augment.
"""

import tensorflow as tf

_STREAK = 15  # Length of a drop's streak, pixels.


def weather(image, seed, share):
    """Spoils a `share` (0..1) of the images in one of five ways, more or less.

    image (H, W, 3) float32 in [0, 255]; seed (2,) int64. Returns the like.
    """
    spoiled, kind, amount = tf.unstack(tf.random.stateless_uniform([3], seed))
    effects = (fog, night, rain, blur, jpeg)

    def spoil():
        choices = [lambda effect=effect: effect(image, amount, seed + 1) for effect in effects]
        return tf.switch_case(tf.cast(kind * len(effects), tf.int32), choices)

    result = tf.cond(spoiled < share, spoil, lambda: image)
    return tf.clip_by_value(tf.ensure_shape(result, image.shape), 0.0, 255.0)


def fog(image, amount, _seed):
    """Light grey, thicker towards the top of the frame, where a driving scene is far away."""
    height = image.shape[0]
    distance = tf.reshape(tf.linspace(1.0, 0.3, height), (height, 1, 1))
    thickness = distance * (0.3 + 0.6 * amount)
    return image * (1 - thickness) + 200.0 * thickness


def night(image, amount, seed):
    """Darker, darkest in the shadows, with the noise of a camera that sees too little."""
    dark = 255 * (image / 255) ** (1.2 + amount) * (0.5 - 0.3 * amount)
    return dark + tf.random.stateless_normal(image.shape, seed, stddev=2 + 6 * amount)


def rain(image, amount, seed):
    """Grey light, and bright streaks that fall straight down."""
    drops = tf.random.stateless_uniform((1, *image.shape[:2], 1), seed)
    drops = tf.cast(drops > 0.997 - 0.006 * amount, tf.float32)
    streaks = tf.nn.avg_pool2d(drops, (_STREAK, 1), 1, "SAME")[0] * (_STREAK / 3)
    grey = tf.reduce_mean(image, axis=-1, keepdims=True)
    return 0.8 * (0.7 * image + 0.3 * grey) + 100 * tf.minimum(streaks, 1.0)


def blur(image, amount, _seed):
    """Out of focus: a Gaussian of 0.6 to 2 pixels."""
    steps = tf.range(-4.0, 5.0)
    row = tf.exp(-(steps**2) / (2 * (0.6 + 1.4 * amount) ** 2))
    row = tf.tile(tf.reshape(row / tf.reduce_sum(row), (1, 9, 1, 1)), (1, 1, 3, 1))
    padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]], "SYMMETRIC")[None]  # No dark rim.
    for kernel in (row, tf.transpose(row, (1, 0, 2, 3))):
        padded = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return padded[0]


def jpeg(image, amount, _seed):
    """JPEG's blocks, at quality 60 down to 10."""
    pixels = tf.cast(tf.round(image), tf.uint8)
    quality = tf.cast(60 - 50 * amount, tf.int32)
    return tf.cast(tf.image.adjust_jpeg_quality(pixels, quality), tf.float32)
