"""Weather augmentation for training images: fog, night, rain, blur and JPEG artefacts.

The effects change the image only; no pixel moves, so the mask stays valid. They are drawn, not
simulated: enough that a model does not rely on clear daylight (in the spirit of the corruptions of
arXiv:1903.12261). The same rng state gives the same result. NumPy and OpenCV, as in
kseg.data.augment.
"""

import cv2
import numpy as np

_STREAK_PX = 15  # Length of the streak of a rain drop.


def weather(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Applies one of five effects, of random strength, to a `share` (0..1) of the images.

    image (H, W, 3) uint8. Returns an image of the same shape and dtype.
    """
    chance, kind, amount = rng.random(3)
    if chance >= share:
        return image
    effects = (fog, night, rain, blur, jpeg)
    return effects[int(kind * len(effects))](image, amount, rng)


# Each effect takes an image (H, W, 3) uint8 RGB, its strength 0..1, and random numbers.


def fog(image: np.ndarray, amount: float, _rng: np.random.Generator) -> np.ndarray:
    """Light grey, thicker towards the top of the frame, where a driving scene is far away."""
    distance = np.linspace(1.0, 0.3, len(image), dtype=np.float32)[:, None, None]
    thickness = distance * np.float32(0.3 + 0.6 * amount)
    return _to_uint8(image * (1 - thickness) + 200 * thickness)


def night(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Darker, most of all in the shadows, with the noise of a camera in low light."""
    levels = np.arange(256, dtype=np.float32) / 255
    dark = (255 * levels ** (1.2 + amount) * (0.5 - 0.3 * amount)).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(2 + 6 * amount)
    return _to_uint8(dark[image] + noise)


def rain(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Grey light, and bright streaks that fall straight down."""
    drops = rng.random(image.shape[:2], np.float32) > 0.997 - 0.006 * amount
    streaks = cv2.blur(drops.astype(np.float32), (1, _STREAK_PX)) * (_STREAK_PX / 3)
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
    return _to_uint8(0.8 * (0.7 * image + 0.3 * grey) + 100 * np.minimum(streaks, 1)[..., None])


def blur(image: np.ndarray, amount: float, _rng: np.random.Generator | None) -> np.ndarray:
    """Out of focus: a Gaussian with a sigma of 0.6 to 2 pixels."""
    # Reflected at the border, so that no dark rim appears.
    return cv2.GaussianBlur(image, (9, 9), 0.6 + 1.4 * amount, borderType=cv2.BORDER_REFLECT)


def jpeg(image: np.ndarray, amount: float, _rng: np.random.Generator) -> np.ndarray:
    """JPEG block artefacts, at quality 60 down to 10."""
    # OpenCV expects BGR; in another channel order it would weight luminance wrongly.
    bgr = np.ascontiguousarray(image[..., ::-1])
    file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(60 - 50 * amount)])[1]
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(decoded[..., ::-1])


def _to_uint8(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
