"""Why a V4L2 camera (/dev/videoN) cannot be opened."""

import errno
import fcntl
import os
import struct

# From linux/videodev2.h; the numbers are those of 64-bit Linux on x86 and ARM.
QUERYCAP, REQBUFS = 0x80685600, 0xC0145608
VIDEO_CAPTURE, VIDEO_CAPTURE_MPLANE, META_CAPTURE = 0x1, 0x1000, 0x00800000
DEVICE_CAPS = 0x80000000


def v4l2_path(source: str) -> str:
    """Returns the device's file for "2", "/dev/video2" or a link to it; "" if it names none."""
    if source.isdecimal():
        return f"/dev/video{int(source)}"
    path = os.path.realpath(source) if source.startswith("/dev/") else ""
    return path if path.startswith("/dev/video") else ""


def why_v4l2_fails(path: str) -> str:
    """Returns what keeps the device from being opened, and what to do.

    It does not exist, access is denied, another program uses it, or it delivers no images. Call it
    after OpenCV failed to open it.
    """
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _why_not_opened(error)
    try:
        return _why_not_streaming(device)
    finally:
        os.close(device)


def _why_not_opened(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "access denied; add the user to the group of the device (usually video)"
    if error.errno == errno.EBUSY:
        return "used by another program; end that"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "no such camera"
    return error.strerror or str(error)


def _why_not_streaming(device: int) -> str:
    found = bytearray(104)  # struct v4l2_capability
    try:
        fcntl.ioctl(device, QUERYCAP, found)
    except OSError:
        return "not a V4L2 device"
    # `all_nodes` are the capabilities of all nodes of the camera together.
    all_nodes, this_node = struct.unpack_from("=2I", found, 84)
    has = this_node if all_nodes & DEVICE_CAPS else all_nodes
    if not has & (VIDEO_CAPTURE | VIDEO_CAPTURE_MPLANE):
        what = "a metadata node" if has & META_CAPTURE else "not a camera"
        return f"{what}, which delivers no images; try the other nodes (v4l2-ctl --list-devices)"
    try:  # Only the program that streams may free the buffers: none, of VIDEO_CAPTURE, MMAP.
        fcntl.ioctl(device, REQBUFS, bytearray(struct.pack("=5I", 0, 1, 1, 0, 0)))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return _why_not_opened(error)
    return "cannot be opened as a camera; it may have no format that OpenCV can read"
