"""Bad days for training: fog, night, rain, blur and JPEG artefacts, the same for the same rng.

They change the picture only; every pixel stays where its mask has it. Drawn, not physical: enough
that a model does not lean on clear daylight (compare arXiv:1903.12261, whose corruptions these
follow in spirit). NumPy and OpenCV, as in kseg.data.augment.
"""

import cv2
import numpy as np

_STREAK = 15  # Length of a drop's streak, pixels.


def weather(image, rng, share):
    """Spoils a `share` (0..1) of the images in one of five ways, more or less.

    image (H, W, 3) uint8; rng numpy.random.Generator. Returns the like.
    """
    spoiled, kind, amount = rng.random(3)
    if spoiled >= share:
        return image
    effects = (fog, night, rain, blur, jpeg)
    return effects[int(kind * len(effects))](image, amount, rng)


def fog(image, amount, _rng):
    """Light grey, thicker towards the top of the frame, where a driving scene is far away."""
    distance = np.linspace(1.0, 0.3, len(image), dtype=np.float32)[:, None, None]
    thickness = distance * np.float32(0.3 + 0.6 * amount)
    return _pixels(image * (1 - thickness) + 200 * thickness)


def night(image, amount, rng):
    """Darker, darkest in the shadows, with the noise of a camera that sees too little."""
    levels = np.arange(256, dtype=np.float32) / 255
    dark = (255 * levels ** (1.2 + amount) * (0.5 - 0.3 * amount)).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(2 + 6 * amount)
    return _pixels(dark[image] + noise)


def rain(image, amount, rng):
    """Grey light, and bright streaks that fall straight down."""
    drops = rng.random(image.shape[:2], np.float32) > 0.997 - 0.006 * amount
    streaks = cv2.blur(drops.astype(np.float32), (1, _STREAK)) * (_STREAK / 3)
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
    return _pixels(0.8 * (0.7 * image + 0.3 * grey) + 100 * np.minimum(streaks, 1)[..., None])


def blur(image, amount, _rng):
    """Out of focus: a Gaussian of 0.6 to 2 pixels."""
    # Reflected: no dark rim.
    return cv2.GaussianBlur(image, (9, 9), 0.6 + 1.4 * amount, borderType=cv2.BORDER_REFLECT)


def jpeg(image, amount, _rng):
    """JPEG's blocks, at quality 60 down to 10."""
    # OpenCV's files are BGR: in another order luminance would be weighted wrong.
    bgr = np.ascontiguousarray(image[..., ::-1])
    file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(60 - 50 * amount)])[1]
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


def _pixels(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
