import numpy as np
import pytest
from PIL import Image

from kseg.errors import InputError
from tests.odd_images import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    chunk,
    exif,
    png,
    saved,
)
from tfrecords_tools.mask_file import read_png_mask

IDS = np.array([[0, 1, 1], [2, 3, 0]])
COLORS = np.array([[0, 0, 0], [220, 20, 60], [0, 0, 255], [9, 8, 7]], np.uint8)
PLTE = chunk(b"PLTE", COLORS.tobytes())
OPAQUE = np.full_like(IDS, 255)
HALF = np.array([[255, 255, 255], [255, 0, 255]])


def read(tmp_path, data):
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    return read_png_mask(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_values_are_the_stored_ones_at_every_bit_depth(tmp_path, bits):
    ids = IDS if bits > 1 else np.minimum(IDS, 1)
    ids = ids + 2**bits - 1 - ids.max()  # The largest value too, which OpenCV scales to 255.
    got = read(tmp_path, png(ids, bits))
    assert got.encoding == f"ids, {bits} bit" and got.array.tolist() == ids.tolist()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_palette_mask_gives_its_indices_and_its_colours(tmp_path, bits):
    transparent = chunk(b"tRNS", b"\0\xff\xff\xff")
    for extra in ([PLTE], [PLTE, transparent]):
        got = read(tmp_path, png(IDS, bits, PALETTE, extra))
        assert got.encoding == "palette indices" and got.array.tolist() == IDS.tolist()
        assert got.palette[:4].tolist() == COLORS.tolist()


def test_a_palette_mask_of_pillow_is_read_as_its_indices(tmp_path):
    image = Image.fromarray(IDS.astype(np.uint8)).convert("L")
    image.putpalette(COLORS.tobytes())
    for options in ({}, {"bits": 4}, {"optimize": True}):
        assert read(tmp_path, saved(image, "PNG", **options)).array.tolist() == IDS.tolist()


def test_colour_masks_are_rgb(tmp_path):
    got = read(tmp_path, png(COLORS[IDS], 8, RGB))
    assert got.encoding == "RGB" and got.array.tolist() == COLORS[IDS].tolist()
    got = read(tmp_path, png(COLORS[IDS].astype(int) * 257, 16, RGB))
    assert got.encoding == "RGB, 16 bit" and got.array.tolist() == COLORS[IDS].tolist()


@pytest.mark.parametrize(("alpha", "encoding"), [(OPAQUE, "RGB"), (HALF, "RGB with transparency")])
def test_transparency_keeps_the_colours_below_it(tmp_path, alpha, encoding):
    got = read(tmp_path, png(np.dstack([COLORS[IDS], alpha]), 8, RGB_ALPHA))
    assert got.encoding == encoding and got.array.tolist() == COLORS[IDS].tolist()


def test_transparency_does_not_change_ids(tmp_path):
    for alpha in (OPAQUE, HALF):
        got = read(tmp_path, png(np.dstack([IDS, alpha]), 8, GREY_ALPHA))
        assert got.encoding == "ids, 8 bit" and got.array.tolist() == IDS.tolist()
    # A grey value declared transparent.
    got = read(tmp_path, png(IDS, 8, GREY, [chunk(b"tRNS", b"\0\1")]))
    assert got.array.tolist() == IDS.tolist()


def test_an_interlaced_mask_is_read(tmp_path):
    ids = np.random.default_rng(0).integers(0, 256, (13, 11))
    gamma = chunk(b"gAMA", (45455).to_bytes(4, "big"))
    assert read(tmp_path, png(ids, 8, GREY, [gamma])).array.tolist() == ids.tolist()
    adam7 = interlaced(ids)
    assert read(tmp_path, adam7).array.tolist() == ids.tolist()


def interlaced(ids):
    """A grey PNG in Adam7 order: seven smaller images, one after the other."""
    import zlib

    lines = b""
    for top, left, down, right in (
        *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
        *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
    ):
        part = ids[top::down, left::right].astype(np.uint8)
        lines += b"".join(b"\0" + row.tobytes() for row in part)
    plain = png(ids)
    header = plain[16:28] + b"\1"
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND")]
    return plain[:8] + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(np.zeros((8, 8, 3), np.uint8), "JPEG"), ["JPEG", "PNG"]),
        (saved(np.zeros((8, 8, 3), np.uint8), "WEBP"), ["WebP", "PNG"]),
        (saved(np.zeros((8, 8, 3), np.uint8), "BMP"), ["BMP", "PNG"]),
        (saved(np.zeros((8, 8), np.uint8), "TIFF"), ["TIFF", "PNG"]),
        (png(COLORS[IDS], 16, RGB), ["16 bits"]),
        (png(IDS, extra=[chunk(b"acTL", bytes(8))]), ["animated"]),
        (png(IDS, extra=[chunk(b"eXIf", exif(6))]), ["orientation"]),
        (png(IDS)[:-8], ["truncated"]),
        (png(IDS)[:-20] + b"xx" + png(IDS)[-18:], ["corrupt"]),
        (png(IDS, 8, PALETTE, [PLTE])[:-30], ["truncated"]),
        (b"<html>", ["web page"]),
        (b"", ["empty"]),
    ],
)
def test_other_masks_are_refused_with_the_reason(tmp_path, data, words):
    with pytest.raises(InputError) as error:
        read(tmp_path, data)
    assert all(word in str(error.value) for word in ["mask.png", *words])
