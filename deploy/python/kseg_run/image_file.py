"""Decodes image files: which formats are read, which are refused, and which way is up.

Conversion, predict, evaluation, export and both runners follow these rules. deploy/python has a
copy of this file, deploy/cpp/run/image_file.cc is its twin, and one test compares all of them.

| file                                     | rule                                               |
|------------------------------------------|----------------------------------------------------|
| JPEG, PNG, WebP, BMP                     | recognised by content; the name does not matter    |
| EXIF orientation, 2 to 8                 | applied: the pixels are those that people see      |
| grey, palette, 1 to 4 bits               | converted to RGB                                   |
| alpha channel, all opaque                | dropped                                            |
| transparent, CMYK, 16-bit, animated      | refused: decoders disagree about their pixels      |
| truncated, checksum wrong, other formats | refused                                            |

JPEG is decoded with libjpeg's accurate integer IDCT and smooth chroma upsampling, OpenCV's default.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# RGB at once is a third faster; OpenCV before 4.11 decodes to BGR only.
_COLOR = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
_PNG = b"\x89PNG\r\n\x1a\n"
_TRANSPARENT = "has transparent pixels; save it without transparency"
_OTHER_FORMATS = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"P6", "a PPM"),
    (b"P5", "a PGM"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer (`git lfs pull` fetches the file)"),
    (b"<", "a web page or XML (a failed download?)"),
)


class ImageFileError(ValueError):
    """A file that cannot be used; the message is the reason and what to do, without the path."""


class Header(NamedTuple):
    """What an image file says about itself. orientation: EXIF, 1 (upright) to 8."""

    format: str  # JPEG, PNG, WebP or BMP
    bits: int = 8  # of a channel; of a palette's index
    color: str = "RGB"  # grey, RGB, palette or CMYK
    alpha: bool = False  # An alpha channel; its values are unknown.
    transparent: bool = False  # A colour or an entry of the palette is declared transparent.
    animated: bool = False
    orientation: int = 1


def is_image_name(name: str) -> bool:
    """Whether a folder scan takes a file of this name: an image that is not hidden.

    macOS and Windows leave `._x.jpg`, `.DS_Store`, `Thumbs.db` and `__MACOSX` beside images.
    """
    return not is_system_name(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def is_system_name(name: str) -> bool:
    """Whether a file or folder belongs to an operating system, not to the data."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def decode(data: bytes, header: Header | None = None) -> np.ndarray:
    """Returns an image file's pixels as people see them, (H, W, 3) uint8 RGB.

    header: the file's, if it has been read. Raises ImageFileError for a file that is refused.
    """
    header = header or read_header(data)
    check_pixels_defined(header)
    flags = cv2.IMREAD_UNCHANGED if header.alpha else _COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = imdecode(data, flags)
    if header.alpha and pixels.shape[2:] == (4,) and pixels[..., 3].min() < 255:
        raise ImageFileError(_TRANSPARENT)
    if header.alpha or _COLOR == cv2.IMREAD_COLOR:
        pixels = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB)
    return turn_upright(pixels, header.orientation)


def decode_jpeg_frame(data: bytes) -> np.ndarray:
    """Returns a JPEG of a camera or a video as it is stored, (H, W, 3) uint8 BGR.

    Raises ImageFileError when it is truncated or corrupt.
    """
    read_header(data)
    return imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def imdecode(data: bytes, flags: int) -> np.ndarray:
    """cv2.imdecode that raises ImageFileError."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # More pixels than OpenCV's limit.
        raise ImageFileError(f"cannot be decoded ({error.err}); replace it") from error
    if pixels is None:
        raise ImageFileError("is corrupt and cannot be decoded; replace it")
    return np.asarray(pixels)


def check_pixels_defined(header: Header) -> None:
    """Raises ImageFileError for a picture whose pixels depend on the decoder."""
    if header.animated:
        raise ImageFileError(f"is an animated {header.format}; save one picture of it")
    if header.transparent:
        raise ImageFileError(_TRANSPARENT)
    if header.color == "CMYK":
        raise ImageFileError("has CMYK colours; save it as RGB")
    if header.bits > 8:
        raise ImageFileError(f"has {header.bits} bits per channel; save it with 8")


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8, to (H, W, ...) pixels."""
    if orientation >= 5:  # 5 to 8 swap height and width.
        pixels = cv2.transpose(pixels)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # cv2.flip's codes.
    return pixels if flip is None else cv2.flip(pixels, flip)


def read_header(data: bytes) -> Header:
    """Returns the Header of an image file. Raises ImageFileError when it is incomplete or other.

    Decoders fill the missing rest of a truncated file with grey, or refuse it, each by its own
    rule; this finds it first.
    """
    if not data:
        raise ImageFileError("is empty; replace it")
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg_header(data)
        if data.startswith(_PNG):
            return _png_header(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_header(data)
        if data.startswith(b"BM"):
            return _bmp_header(data)
    except (struct.error, IndexError, KeyError) as error:
        raise ImageFileError(_truncated(data)) from error
    start = data.lstrip()[:32]
    name = next((name for magic, name in _OTHER_FORMATS if start.startswith(magic)), "")
    if data[4:8] == b"ftyp":
        name = "a HEIC or AVIF"
    raise ImageFileError(f"is {name or 'no image'}; expected JPEG, PNG, WebP or BMP")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (type, content) of a PNG's chunks up to its end.

    Raises ImageFileError when the file is truncated, or the checksum of a critical chunk is wrong.
    """
    position, kind = len(_PNG), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageFileError(_truncated(data))
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise ImageFileError(_truncated(data))
        critical = not kind[0] & 32
        if (
            critical
            and zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]
        ):
            raise ImageFileError("is corrupt: a checksum in it is wrong; replace it")
        yield kind, data[position + 8 : end]
        position = end + 4


def _jpeg_header(data):
    position, orientation, frame = 2, 1, None
    while True:
        while data[position : position + 2] == b"\xff\xff":  # Padding.
            position += 1
        mark, marker = data[position], data[position + 1]
        if mark != 0xFF:
            raise ImageFileError("is corrupt between its JPEG segments; replace it")
        if marker == 0xD9:
            raise ImageFileError(_truncated(data))
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position + 4 : position + 2 + length]
        if marker == 0xDA:  # Start of scan.
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker, segment
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0") and orientation == 1:
            orientation = _exif_orientation(segment[6:])
        position += 2 + length
    # Within scans a byte FF is always followed by another, so FF D9 is the end of the picture.
    if frame is None or data.find(b"\xff\xd9", position) < 0:
        raise ImageFileError(_truncated(data))
    marker, segment = frame
    if marker > 0xC2:
        raise ImageFileError("is a lossless or arithmetic JPEG; save it as a common JPEG or PNG")
    color = {1: "grey", 3: "RGB", 4: "CMYK"}.get(segment[5])
    if color is None:
        raise ImageFileError(f"has {segment[5]} channels; save it as RGB")
    return Header("JPEG", segment[0], color, orientation=orientation)


def _png_header(data):
    bits, color, transparent, animated, orientation = 0, 0, False, False, 1
    for kind, content in png_chunks(data):
        if kind == b"IHDR":
            bits, color = content[8], content[9]
        elif kind == b"tRNS":  # A palette's has an alpha value for each of its entries.
            transparent = color != 3 or min(content, default=255) < 255
        elif kind == b"acTL":
            animated = True
        elif kind == b"eXIf":
            orientation = _exif_orientation(content)
    name = {0: "grey", 2: "RGB", 3: "palette", 4: "grey", 6: "RGB"}[color]
    return Header("PNG", bits, name, color >= 4, transparent, animated, orientation)


def _webp_header(data):
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise ImageFileError(_truncated(data))
    position, alpha, animated, orientation = 12, False, False, 1
    while position + 8 <= size + 8:
        kind, length = struct.unpack_from("<4sI", data, position)
        content = data[position + 8 : position + 8 + length]
        if kind == b"VP8X":
            alpha, animated = alpha or bool(content[0] & 16), bool(content[0] & 2)
        elif kind == b"VP8L":
            alpha = alpha or bool(content[4] & 16)
        elif kind == b"EXIF":
            orientation = _exif_orientation(content.removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    return Header("WebP", alpha=alpha, animated=animated, orientation=orientation)


def _bmp_header(data):
    pixels, header = struct.unpack_from("<II", data, 10)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if header < 40 or bits not in (8, 24) or compression:
        raise ImageFileError("is not a plain BMP of 8 or 24 bits; save it as PNG")
    if pixels + (width * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise ImageFileError(_truncated(data))
    return Header("BMP")


def _exif_orientation(tiff):
    """The orientation in EXIF data, which is a TIFF; 1 when it has none or makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}HH", tiff, entry) == (0x112, 3):
                (value,) = struct.unpack_from(f"{order}H", tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _truncated(data):
    return f"is truncated ({len(data)} bytes); replace it"
