"""Makes odd but valid image files, bit by bit, which no common library writes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types.


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One chunk of a PNG file."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(values, bits=8, color=GREY, extra=()):
    """A PNG file of (H, W) or (H, W, channels) values as they are. extra: chunks before IDAT."""
    values = np.asarray(values)
    height, width = values.shape[:2]
    samples = values.reshape(height, -1)
    if bits == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        planes = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = np.packbits(planes.reshape(height, -1), axis=1)
    lines = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # Filter 0 on every line.
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif(orientation: int) -> bytes:
    """EXIF data (a TIFF) that holds an orientation only."""
    tag = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    return struct.pack("<2sHIH", b"II", 42, 8, 1) + tag + struct.pack("<I", 0)


def saved(image, format, **options):
    """The file that Pillow writes of (H, W[, channels]) uint8 values or of an Image."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
