"""Reads a PNG mask as it is stored: ids, palette indices or colours, never converted."""

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kseg import image_file
from kseg.errors import InputError
from kseg.image_file import ImageFileError
from kseg.paths import to_path


class MaskFile(NamedTuple):
    """The values of one mask file.

    | encoding                        | array                                            |
    |---------------------------------|--------------------------------------------------|
    | "ids, N bit" (1, 2, 4, 8 or 16) | (H, W) uint8, or uint16 for 16 bits: grey values |
    | "palette indices"               | (H, W) uint8; palette (n, 3) uint8 RGB           |
    | "RGB" or "RGB, 16 bit"          | (H, W, 3) uint8                                  |
    | "RGB with transparency"         | (H, W, 3) uint8; some pixels are transparent     |

    Grey values of 1, 2 and 4 bits are the stored ones, 0 to 15; OpenCV and Pillow scale them to
    255. A palette's colours may also be read as RGB: palette[array].
    """

    array: np.ndarray
    encoding: str
    palette: np.ndarray | None = None

    @property
    def has_colors(self) -> bool:
        return self.array.ndim == 3


def read_png_mask(path: Path) -> MaskFile:
    """Reads a PNG file (local or in a bucket). Raises InputError with the reason and the way on."""
    try:
        data = to_path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: mask cannot be read ({error.strerror})") from error
    try:
        return decode_mask(data)
    except ImageFileError as error:
        raise InputError(f"{path}: mask {error}") from error


def decode_mask(data: bytes) -> MaskFile:
    """As read_png_mask, of a file's content. Raises ImageFileError."""
    header = image_file.read_header(data)
    if header.format in ("JPEG", "WebP"):
        raise ImageFileError(
            f"is {header.format} data, whatever its name; its compression blends ids, so export "
            "the masks again as PNG"
        )
    if header.format != "PNG":
        raise ImageFileError(f"is a {header.format}; save it as PNG")
    if header.animated or header.orientation != 1:
        kind = "is animated" if header.animated else "has an EXIF orientation"
        raise ImageFileError(f"{kind}; save it as a plain PNG")
    if header.color == "palette":
        return _decode_palette(data)
    if header.color == "RGB":
        return _decode_colors(data, header)
    return _decode_grey(data, header)


def _decode_grey(data, header):
    # Transparency does not change a grey value, but UNCHANGED would make it four channels.
    array = image_file.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if header.bits < 8:
        array = array // (255 // (2**header.bits - 1))
    return MaskFile(array, f"ids, {header.bits} bit")


def _decode_colors(data, header):
    array = image_file.imdecode(data, cv2.IMREAD_UNCHANGED)
    transparent = array.shape[2] == 4 and array[..., 3].min() < np.iinfo(array.dtype).max
    rgb = np.ascontiguousarray(array[..., 2::-1])
    encoding = "RGB with transparency" if transparent else "RGB"
    if header.bits == 8:
        return MaskFile(rgb, encoding)
    if (rgb % 257).any():  # 257 * v is the 8-bit colour v.
        raise ImageFileError("has 16 bits per colour channel and no colours of 8; save it with 8")
    return MaskFile((rgb // 257).astype(np.uint8), f"{encoding}, 16 bit")


def _decode_palette(data):
    """By Pillow, because OpenCV replaces indices by their colours."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            array = np.array(image)
            palette = image.getpalette("RGB") or []
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageFileError("is corrupt and cannot be decoded; replace it") from error
    return MaskFile(array, "palette indices", np.array(palette, np.uint8).reshape(-1, 3))
