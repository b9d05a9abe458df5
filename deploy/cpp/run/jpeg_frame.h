// JPEG frames of cameras and videos. In place of one that is truncated or corrupt, OpenCV and FFmpeg
// return the frame before it, or a part of that; so the JPEG files are asked for, checked and
// decoded here.
#pragma once

#include <opencv2/core.hpp>
#include <string>

namespace kseg {

// The four characters of OpenCV's number for a format, without those not printable.
std::string fourcc_text(double code);

// Whether a format of fourcc_text is JPEG.
bool is_jpeg(const std::string& format);

// The frame as it is stored. False for a JPEG that is truncated or corrupt.
bool decode_jpeg(const cv::Mat& file, cv::Mat& bgr);

}  // namespace kseg
