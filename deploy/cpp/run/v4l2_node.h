// Why a V4L2 camera (/dev/videoN) cannot be opened.
#pragma once

#include <string>

namespace kseg {

// The device's file for "2", "/dev/video2" or a link to it such as /dev/v4l/by-id/...; empty if
// `source` does not name a V4L2 device.
std::string v4l2_path(const std::string& source);

// What keeps the device from being opened, and what to do: it does not exist, access is denied,
// another program uses it, or it delivers no images. Call it after OpenCV failed to open it.
std::string why_v4l2_fails(const std::string& path);

}  // namespace kseg
