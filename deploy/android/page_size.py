#!/usr/bin/env python3
"""Checks the rule of phones with 16 KiB pages for native libraries: in an .apk, .aar or .so.

    python deploy/android/page_size.py app/build/outputs/apk/debug/app-debug.apk

Every loadable segment of a 64-bit library must be aligned to 16 KiB or more; in an .apk a library
that is stored uncompressed must also begin at a multiple of 16 KiB. Such phones do not load others,
and Google Play refuses them for Android 15 and newer. Exit codes: 0 all are right, 1 some are not,
2 not a file with libraries.
"""

import struct
import sys
import zipfile

PAGE = 16 * 1024
PT_LOAD = 1


def smallest_alignment(elf):
    """The smallest alignment of the loadable segments; None if `elf` is no 64-bit library."""
    if elf[:6] != b"\x7fELF\x02\x01":  # 64-bit, little-endian
        return None
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    headers = (table + i * size for i in range(count))
    return min(
        (
            struct.unpack_from("<Q", elf, header + 48)[0]
            for header in headers
            if struct.unpack_from("<I", elf, header)[0] == PT_LOAD
        ),
        default=None,
    )


def libraries(path):
    """Yields (name, bytes, offset in the archive; None if it is compressed or not of an .apk)."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            yield path, file.read(), None
        return
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith(".so"):
                continue
            offset = None
            if path.endswith(".apk") and entry.compress_type == zipfile.ZIP_STORED:
                file.seek(entry.header_offset + 26)
                offset = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            yield entry.filename, archive.read(entry), offset


def main(argv):
    if len(argv) != 1 or argv[0].startswith("-"):
        print(__doc__.strip())
        return 0 if argv == ["--help"] else 2
    checked, wrong = 0, 0
    try:
        for name, elf, offset in libraries(argv[0]):
            alignment = smallest_alignment(elf)
            if alignment is None:
                continue
            problem = f"segments aligned to {alignment} bytes" if alignment < PAGE else ""
            if not problem and offset is not None and offset % PAGE:
                problem = f"begins at byte {offset} of the archive"
            checked, wrong = checked + 1, wrong + bool(problem)
            print(f"{name}: {problem or 'right'}")
    except (OSError, zipfile.BadZipFile, struct.error) as error:
        print(f"error: {argv[0]}: cannot be read ({error})", file=sys.stderr)
        return 2
    if not checked:
        print(f"error: {argv[0]}: no 64-bit library in it", file=sys.stderr)
        return 2
    print(f"{checked} libraries for 16 KiB pages, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
