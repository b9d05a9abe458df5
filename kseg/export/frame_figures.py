"""The frames that export_report.html shows: which, and as five pictures side by side."""

from html import escape
from typing import NamedTuple

import cv2
import numpy as np

from kseg.visualize.html import WIDTH, data_uri, patterned

_DIFFERENT = (255, 221, 51)  # Light yellow on dark grey: told by brightness alone too.


class Shown(NamedTuple):
    """A frame to show: image (H, W, 3) uint8 RGB; truth, Keras' and the file's (H, W) uint8 ids."""

    file: str
    key: str
    image: np.ndarray
    truth: np.ndarray
    keras: np.ndarray
    tflite: np.ndarray


def shown(model, files, frames, reports, most=4):
    """Runs the Keras model and the files again on the frames that their reports call worst.

    files {file name: a function (H, W, 3) uint8 -> (H, W) ids}; frames have key, image and mask.
    Returns a list of Shown, of each file at most `most`, in the order of its report, without those
    on which all pixels agree.
    """
    wanted = {
        report["file"]: [
            worst["key"] for worst in report.get("worst_frames", []) if worst["agreement"] < 1
        ][:most]
        for report in reports
    }
    if not any(wanted.values()):
        return []
    found = {}
    for frame in frames:
        names = [name for name, keys in wanted.items() if frame.key in keys]
        if names:
            logits = model.predict_on_batch(frame.image[None].astype(np.float32))[0]
            keras = logits.argmax(axis=-1).astype(np.uint8)
            for name in names:
                ids = files[name](frame.image)
                found[name, frame.key] = Shown(name, frame.key, frame.image, frame.mask, keras, ids)
    return [
        found[name, key] for name, keys in wanted.items() for key in keys if (name, key) in found
    ]


def figures(shown, labels):
    """Returns the HTML of a Shown frame: five pictures side by side, at most WIDTH pixels wide."""
    image, differs = shown.image, shown.keras != shown.tflite
    told = f"{differs.sum():,} of {differs.size:,} pixels differ"
    pictures = (
        ("frame", shrunk(image)),
        ("truth", patterned(image, shown.truth, labels)),
        ("Keras", patterned(image, shown.keras, labels)),
        ("file", patterned(image, shown.tflite, labels)),
        ("difference", difference(shrunk(image), shrunk(differs.astype(np.float32)) > 0)),
    )
    cells = "".join(
        f'<figure><img src="{data_uri(picture, "png" if name == "difference" else "jpeg")}" '
        f'alt="{escape(f"{shown.key}: {name}", quote=True)}" loading="lazy">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in pictures
    )
    return f"<p>{escape(shown.key)}: {told}</p>\n<div class=five>{cells}</div>"


def shrunk(array):
    """Area-averages to at most WIDTH columns: of a mask, all above 0 is where anything was."""
    height, width = array.shape[:2]
    if width <= WIDTH:
        return array
    return cv2.resize(array, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)


def difference(image, differs):
    """(H, W, 3) uint8 RGB and (H, W) bool -> the image in dark grey, light where it differs.

    Marks are a pixel larger on all sides, so that a single one is seen.
    """
    # In few steps: noise would make the PNG large.
    dark = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 24 * 8
    picture = np.repeat(dark[..., None], 3, axis=-1)
    picture[cv2.dilate(differs.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = _DIFFERENT
    return picture
