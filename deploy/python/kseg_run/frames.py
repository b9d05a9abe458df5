"""Frame: what every source yields."""

from typing import Any, NamedTuple


class Frame(NamedTuple):
    """One frame of an image folder, a video or a camera.

    number counts from 0, including frames that were dropped or could not be decoded.
    """

    number: int
    name: str
    image: Any  # np.ndarray, (h, w, 3) uint8 RGB; None: it cannot be decoded
    problem: str = ""  # why it cannot be decoded, one line
    time_s: float | None = None  # since the first frame of the video or camera
    first: bool = False  # does not continue the previous frame
    captured: float | None = None  # when a camera took it, by time.monotonic; None: from a file
