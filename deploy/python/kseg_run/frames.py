"""What a source yields."""

from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
    """number counts all frames that came or should have come, from 0."""

    number: int
    name: str
    image: np.ndarray | None  # (h, w, 3) uint8 RGB; None: cannot be decoded
    problem: str = ""  # why it cannot, in one line
    time_s: float | None = None  # since the video's or the camera's first frame
    first: bool = False  # does not follow the frame before it
