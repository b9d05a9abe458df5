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


def odd_pictures(image):
    """{file name: (content, "" or a word of the refusal)} of one (H, W, 3) uint8 RGB picture.

    The refused ones are those whose pixels depend on the decoder, or that are incomplete.
    """
    grey, picture = image[..., 0].copy(), Image.fromarray(image)
    other = Image.fromarray(255 - image)
    alpha = lambda values: np.dstack([image, values])  # noqa: E731
    opaque, half = np.full_like(grey, 255), np.where(grey > 128, 255, 0).astype(np.uint8)
    colors = chunk(b"PLTE", (np.arange(48) * 5).astype(np.uint8).tobytes())
    animation = {"save_all": True, "append_images": [other]}
    jpeg, png_file, webp = (saved(image, format) for format in ("JPEG", "PNG", "WEBP"))
    good = {
        **{f"exif{o}.jpg": tagged(image, o, "JPEG", quality=95) for o in range(1, 9)},
        "exif6.png": tagged(image, 6, "PNG"),
        "exif6.webp": tagged(image, 6, "WEBP"),
        **{f"jpeg{s}.jpg": saved(image, "JPEG", subsampling=s) for s in (0, 1, 2)},
        "progressive.jpg": saved(image, "JPEG", progressive=True),
        "restarts.jpg": saved(image, "JPEG", restart_marker_rows=1),
        "grey.jpg": saved(grey, "JPEG"),
        "stored-as-rgb.jpg": saved(image, "JPEG", keep_rgb=True),
        "two-pictures.jpg": saved(picture, "MPO", **animation),
        "trailing-bytes.jpg": jpeg + b"trailing" * 9,
        "jpeg-called.png": jpeg,
        "png-called.jpg": png_file,
        "webp-called.jpg": webp,
        "bmp-called.jpg": saved(image, "BMP"),
        "palette.bmp": saved(picture.quantize(16), "BMP"),
        "lossless.webp": saved(image, "WEBP", lossless=True),
        "opaque.webp": saved(alpha(opaque), "WEBP"),
        "opaque.png": png(alpha(opaque), 8, RGB_ALPHA),
        "opaque-grey.png": png(np.dstack([grey, opaque]), 8, GREY_ALPHA),
        "opaque-palette.png": png(grey // 16, 4, PALETTE, [colors, chunk(b"tRNS", b"\xff" * 9)]),
        **{f"grey-{b}-bit.png": png(grey >> (8 - b), b) for b in (1, 2, 4, 8)},
        "palette.png": png(grey // 16, 8, PALETTE, [colors]),
        "gamma.png": png(image, 8, RGB, [chunk(b"gAMA", (100000).to_bytes(4, "big"))]),
    }
    refused = {
        "transparent.png": (png(alpha(half), 8, RGB_ALPHA), "transparent"),
        "transparent-grey.png": (png(np.dstack([grey, half]), 8, GREY_ALPHA), "transparent"),
        "transparent-palette.png": (
            png(grey // 16, 8, PALETTE, [colors, chunk(b"tRNS", b"\xff\0")]),
            "transparent",
        ),
        "transparent.webp": (saved(alpha(half), "WEBP"), "transparent"),
        "16-bit.png": (png(image.astype(int) * 257 - 3 * (image > 9), 16, RGB), "16 bits"),
        "16-bit-grey.png": (png(grey.astype(int) * 200, 16), "16 bits"),
        "cmyk.jpg": (saved(picture.convert("CMYK"), "JPEG"), "CMYK"),
        "animated.png": (saved(picture, "PNG", **animation), "animated"),
        "animated.webp": (saved(picture, "WEBP", **animation), "animated"),
        "alpha.bmp": (saved(alpha(half), "BMP"), "BMP"),
        "gif-called.jpg": (saved(picture, "GIF"), "GIF"),
        "tiff-called.jpg": (saved(picture, "TIFF"), "TIFF"),
        "avif-called.jpg": (saved(picture, "AVIF"), "AVIF"),
        "page.jpg": (b"\n<!DOCTYPE html>", "web page"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        "text.jpg": (b"cat", "no image"),
        "empty.jpg": (b"", "empty"),
        **{f"truncated{n}.jpg": (jpeg[:-n], "truncated") for n in (2, 60, len(jpeg) - 30)},
        **{f"truncated{n}.png": (png_file[:-n], "truncated") for n in (4, 13, 60)},
        "truncated.webp": (webp[:-20], "truncated"),
        "truncated.bmp": (saved(image, "BMP")[:-20], "truncated"),
        "checksum.png": (png_file[:-40] + b"???" + png_file[-37:], "checksum"),
    }
    return {name: (data, "") for name, data in good.items()} | refused


def tagged(image, orientation, format, **options):
    """A file of `image` with an EXIF orientation."""
    tags = Image.Exif()
    tags[0x112] = orientation
    return saved(image, format, exif=tags, **options)


def picture(size=(52, 71)):
    """A colourful, asymmetric (H, W, 3) uint8 RGB picture."""
    rows, columns = np.indices(size)
    noise = np.random.default_rng(0).integers(0, 40, (*size, 3))
    base = np.dstack([rows * 4, columns * 3, (rows + 2 * columns) % 216])
    return np.minimum(base + noise, 255).astype(np.uint8)
