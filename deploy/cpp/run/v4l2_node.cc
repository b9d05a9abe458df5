#include "run/v4l2_node.h"

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kseg {
namespace {

std::string why_not_opened(int error) {
  if (error == EACCES || error == EPERM) {
    return "access denied; add the user to the group of the device (usually video)";
  }
  if (error == EBUSY) return "used by another program; end that";
  if (error == ENOENT || error == ENODEV || error == ENXIO) return "no such camera";
  return std::strerror(error);
}

std::string why_not_streaming(int device) {
  v4l2_capability found = {};
  if (ioctl(device, VIDIOC_QUERYCAP, &found) != 0) return "not a V4L2 device";
  // `capabilities` are those of all nodes of the camera together.
  const bool by_node = (found.capabilities & V4L2_CAP_DEVICE_CAPS) != 0;
  const unsigned has = by_node ? found.device_caps : found.capabilities;
  if ((has & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE)) == 0) {
    const bool metadata = (has & V4L2_CAP_META_CAPTURE) != 0;
    return std::string(metadata ? "a metadata node" : "not a camera") +
           ", which delivers no images; try the other nodes (v4l2-ctl --list-devices)";
  }
  v4l2_requestbuffers none = {};  // Only the program that streams may free the buffers.
  none.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  none.memory = V4L2_MEMORY_MMAP;
  if (ioctl(device, VIDIOC_REQBUFS, &none) != 0 && errno == EBUSY) return why_not_opened(EBUSY);
  return "cannot be opened as a camera; it may have no format that OpenCV can read";
}

}  // namespace

std::string v4l2_path(const std::string& source) {
  const bool is_number =
      !source.empty() && source.find_first_not_of("0123456789") == std::string::npos;
  if (is_number) return "/dev/video" + source;
  if (source.rfind("/dev/", 0) != 0) return "";
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(source, error);
  const std::string path = error ? source : target.string();
  return path.rfind("/dev/video", 0) == 0 ? path : "";
}

std::string why_v4l2_fails(const std::string& path) {
  const int device = open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) return why_not_opened(errno);
  const std::string reason = why_not_streaming(device);
  close(device);
  return reason;
}

}  // namespace kseg
