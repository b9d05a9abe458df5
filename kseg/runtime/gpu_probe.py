"""The process in which GPU drivers are asked for their devices; native code may crash or hang.

    python machine_child.py vulkan|opencl

prints {"found", "devices": [{"name", "software"}], "error"} as JSON. Run by kseg.runtime.hardware;
needs Python alone.
"""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

_VULKAN_CPU = 4  # VK_PHYSICAL_DEVICE_TYPE_CPU
_OPENCL_ALL, _OPENCL_CPU = 0xFFFFFFFF, 1 << 1  # CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_CPU
_OPENCL_TYPE, _OPENCL_NAME = 0x1000, 0x102B  # CL_DEVICE_TYPE, CL_DEVICE_NAME


class _InstanceInfo(ctypes.Structure):
    """VkInstanceCreateInfo."""

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


class _Properties(ctypes.Structure):
    """The head of VkPhysicalDeviceProperties (824 bytes on 64-bit machines), and room enough."""

    _fields_ = [
        ("api_version", c_uint32),
        ("driver_version", c_uint32),
        ("vendor", c_uint32),
        ("device", c_uint32),
        ("type", c_int32),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_char * 2048),
    ]


def vulkan():
    library = ctypes.CDLL("libvulkan.so.1")
    instance, count = c_void_p(), c_uint32()
    info = _InstanceInfo(type=1)  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
    if status := library.vkCreateInstance(byref(info), None, byref(instance)):
        return [], f"vkCreateInstance answers {status}: no driver that works"
    library.vkEnumeratePhysicalDevices(instance, byref(count), None)
    handles = (c_void_p * count.value)()
    if count.value:
        library.vkEnumeratePhysicalDevices(instance, byref(count), handles)
    found = []
    for handle in handles[: count.value]:
        properties = _Properties()
        library.vkGetPhysicalDeviceProperties(c_void_p(handle), byref(properties))
        version = properties.api_version
        found.append(
            {
                "name": properties.name.decode(errors="replace"),
                "version": f"{version >> 22 & 127}.{version >> 12 & 1023}.{version & 4095}",
                "software": properties.type == _VULKAN_CPU,
            }
        )
    return found, None


def opencl():
    try:
        library = ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        library = ctypes.CDLL("libOpenCL.so")  # Android's, and Mali's on Linux.
    library.clGetDeviceIDs.argtypes = [c_void_p, c_uint64, c_uint32, c_void_p, POINTER(c_uint32)]
    library.clGetDeviceInfo.argtypes = [c_void_p, c_uint32, c_size_t, c_void_p, c_void_p]
    count, found = c_uint32(), []
    if library.clGetPlatformIDs(0, None, byref(count)) or not count.value:
        return [], "no platform"
    platforms = (c_void_p * count.value)()
    library.clGetPlatformIDs(count, platforms, None)
    for platform in platforms:
        if library.clGetDeviceIDs(platform, _OPENCL_ALL, 0, None, byref(count)):
            continue
        handles = (c_void_p * count.value)()
        library.clGetDeviceIDs(platform, _OPENCL_ALL, count.value, handles, byref(count))
        for handle in handles:
            name, kind = ctypes.create_string_buffer(1024), c_uint64()
            library.clGetDeviceInfo(handle, _OPENCL_NAME, 1023, name, None)
            library.clGetDeviceInfo(handle, _OPENCL_TYPE, 8, byref(kind), None)
            software = bool(kind.value & _OPENCL_CPU)
            found.append({"name": name.value.decode(errors="replace"), "software": software})
    return found, None


LOOKS = {"vulkan": vulkan, "opencl": opencl}


def main(api):
    try:
        found, error = LOOKS[api]()
    except OSError:
        print(json.dumps({"found": False, "devices": [], "error": None}))
        return
    print(json.dumps({"found": True, "devices": found, "error": error}))


if __name__ == "__main__":
    main(sys.argv[1])
