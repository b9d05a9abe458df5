#include "run/jpeg_frame.h"

#include <cstdint>
#include <opencv2/imgcodecs.hpp>
#include <vector>

#include "run/image_file.h"

namespace kseg {

std::string fourcc_text(double code) {
  const auto number = static_cast<std::uint32_t>(code > 0 ? code : 0);
  std::string text;
  for (int shift = 0; shift < 32; shift += 8) {
    const auto letter = static_cast<char>((number >> shift) & 255);
    if (letter > ' ' && letter < 127) text += letter;
  }
  return text;
}

bool is_jpeg(const std::string& format) {
  for (const char* name : {"MJPG", "mjpg", "JPEG", "jpeg"}) {
    if (format == name) return true;
  }
  return format == "mjpe";  // OpenCV 4.6 for a stream.
}

bool decode_jpeg(const cv::Mat& file, cv::Mat& bgr) {
  const std::vector<std::uint8_t> bytes(file.datastart, file.dataend);
  if (!read_image_header(bytes)) return false;
  bgr = cv::imdecode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  return !bgr.empty();
}

}  // namespace kseg
