"""Child process that lists the GPU devices of a driver. Native code may crash or hang.

    python gpu_probe.py vulkan|opencl

prints {"found", "devices": [{"name", "software"}], "error"} as JSON; Vulkan devices have a
"version" too. kseg.runtime.hardware starts it. Standard library only: the libraries are called with
ctypes, because `vulkaninfo --json` and `clinfo --json` are packages of their own that do not come
with a driver, and a board in a car rarely has them.
"""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

# Devices, and an error message or None.
Devices = tuple[list[dict[str, Any]], str | None]

VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO = 1
VK_PHYSICAL_DEVICE_TYPE_CPU = 4
CL_DEVICE_TYPE = 0x1000
CL_DEVICE_TYPE_CPU = 1 << 1
CL_DEVICE_TYPE_ALL = 0xFFFFFFFF
CL_DEVICE_NAME = 0x102B


class VkInstanceCreateInfo(ctypes.Structure):
    _fields_ = [
        ("type", c_int32),
        ("next", c_void_p),
        ("flags", c_uint32),
        ("application", c_void_p),
        ("layer_count", c_uint32),
        ("layers", c_void_p),
        ("extension_count", c_uint32),
        ("extensions", c_void_p),
    ]


class VkPhysicalDeviceProperties(ctypes.Structure):
    """The first fields. `rest` leaves room for the others: all take 824 bytes on 64-bit CPUs."""

    _fields_ = [
        ("api_version", c_uint32),
        ("driver_version", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("type", c_int32),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_char * 2048),
    ]


def vulkan_devices() -> Devices:
    """Raises OSError when the library is not installed."""
    library = ctypes.CDLL("libvulkan.so.1")
    instance, count = c_void_p(), c_uint32()
    info = VkInstanceCreateInfo(type=VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO)
    if status := library.vkCreateInstance(byref(info), None, byref(instance)):
        return [], f"no working driver (vkCreateInstance returns {status})"
    library.vkEnumeratePhysicalDevices(instance, byref(count), None)
    handles = (c_void_p * count.value)()
    if count.value:
        library.vkEnumeratePhysicalDevices(instance, byref(count), handles)
    return [_vulkan_device(library, handle) for handle in handles[: count.value]], None


def _vulkan_device(library: ctypes.CDLL, handle: int | None) -> dict[str, Any]:
    properties = VkPhysicalDeviceProperties()
    library.vkGetPhysicalDeviceProperties(c_void_p(handle), byref(properties))
    version = properties.api_version  # Bits 22 to 28, 12 to 21, and 0 to 11.
    return {
        "name": properties.name.decode(errors="replace"),
        "version": f"{version >> 22 & 127}.{version >> 12 & 1023}.{version & 4095}",
        "software": properties.type == VK_PHYSICAL_DEVICE_TYPE_CPU,
    }


def opencl_devices() -> Devices:
    """Raises OSError when the library is not installed."""
    library = _load_opencl()
    count = c_uint32()
    if library.clGetPlatformIDs(0, None, byref(count)) or not count.value:
        return [], "no platform"
    platforms = (c_void_p * count.value)()
    library.clGetPlatformIDs(count, platforms, None)
    devices = []
    for platform in platforms:
        if library.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, None, byref(count)):
            continue
        handles = (c_void_p * count.value)()
        library.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count.value, handles, byref(count))
        devices += [_opencl_device(library, handle) for handle in handles]
    return devices, None


def _load_opencl() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        library = ctypes.CDLL("libOpenCL.so")  # The name on Android, and of Mali's on Linux.
    library.clGetDeviceIDs.argtypes = [c_void_p, c_uint64, c_uint32, c_void_p, POINTER(c_uint32)]
    library.clGetDeviceInfo.argtypes = [c_void_p, c_uint32, c_size_t, c_void_p, c_void_p]
    return library


def _opencl_device(library: ctypes.CDLL, handle: int | None) -> dict[str, Any]:
    name, kind = ctypes.create_string_buffer(1024), c_uint64()
    library.clGetDeviceInfo(handle, CL_DEVICE_NAME, 1023, name, None)
    library.clGetDeviceInfo(handle, CL_DEVICE_TYPE, 8, byref(kind), None)
    return {
        "name": name.value.decode(errors="replace"),
        "software": bool(kind.value & CL_DEVICE_TYPE_CPU),
    }


PROBES = {"vulkan": vulkan_devices, "opencl": opencl_devices}


def main(api: str) -> None:
    try:
        devices, error = PROBES[api]()
    except OSError:
        print(json.dumps({"found": False, "devices": [], "error": None}))
        return
    print(json.dumps({"found": True, "devices": devices, "error": error}))


if __name__ == "__main__":
    main(sys.argv[1])
