#include "run/camera_capture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <opencv2/core/utils/logger.hpp>
#include <vector>

#include "run/camera.h"
#include "run/jpeg_frame.h"
#include "run/v4l2_node.h"

namespace kseg {
namespace {

constexpr double kDefaultRate = 25;  // For cameras that do not report theirs.
constexpr double kOldestFrameS = 60;  // A driver's timestamp further back is of another clock.

bool is_csi(const std::string& source) {
  return source.rfind("csi:", 0) == 0 && source.size() > 4 &&
         source.find_first_not_of("0123456789", 4) == std::string::npos;
}

bool is_pipeline(const std::string& source) { return source.find(" ! ") != std::string::npos; }

bool is_stream(const std::string& source) {
  for (const char* scheme : {"rtsp://", "rtsps://", "http://", "https://"}) {
    if (source.rfind(scheme, 0) == 0) return true;
  }
  return false;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// NVIDIA's camera source delivers planar frames in its own memory; OpenCV needs BGR. appsink keeps
// only the newest frame.
std::string csi_pipeline(const std::string& source, const CameraOptions& options) {
  std::string caps = "video/x-raw(memory:NVMM)";
  if (options.width > 0) {
    caps += ",width=" + std::to_string(options.width) + ",height=" + std::to_string(options.height);
  }
  if (options.rate > 0) caps += ",framerate=" + std::to_string(std::lround(options.rate)) + "/1";
  return "nvarguscamerasrc sensor-id=" + std::to_string(std::atoi(source.c_str() + 4)) + " ! " +
         caps + " ! nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! " +
         "video/x-raw, format=BGR ! appsink drop=true max-buffers=1";
}

}  // namespace

bool is_camera(const std::string& source) {
  return !v4l2_path(source).empty() || is_csi(source) || source.rfind("/dev/", 0) == 0 ||
         is_pipeline(source) || is_stream(source);
}

std::string shown_source(const std::string& source) {
  const std::size_t scheme = source.find("://");
  if (!is_stream(source)) return source;
  const std::size_t begin = scheme + 3;
  const std::size_t at = source.rfind('@', source.find('/', begin));
  if (at == std::string::npos || at < begin) return source;
  return source.substr(0, begin) + "***" + source.substr(at);
}

Status CameraCapture::open(const std::string& source, const CameraOptions& options) {
  const std::string shown = shown_source(source), path = v4l2_path(source);
  v4l2_ = !path.empty();
  stream_ = is_stream(source);
  const bool sets_format = !options.format.empty() && !v4l2_;
  const bool sets_mode = (options.width > 0 || options.rate > 0) && !v4l2_ && !is_csi(source);
  if (sets_format || sets_mode) {
    return Error{shown + ": " + (sets_format ? "--camera-format is" : "--camera-size and "
                 "--camera-fps are") + " for " + (sets_format ? "V4L2" : "V4L2 and csi") +
                 " cameras; configure this one where its stream or pipeline is made"};
  }
  bool opened = false;
  try {
    opened = open_source(source, options);
  } catch (const cv::Exception&) {
  }
  if (!opened) {
    return Error{shown + ": " + (v4l2_ ? why_v4l2_fails(path) : "cannot be opened as a camera")};
  }
  configure(shown, options);
  return Done{};
}

bool CameraCapture::open_source(const std::string& source, const CameraOptions& options) {
  if (std::getenv("OPENCV_LOG_LEVEL") == nullptr) {  // Our one line says why.
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_ERROR);
  }
  if (v4l2_) return video_.open(v4l2_path(source), cv::CAP_V4L2);
  if (is_csi(source)) return video_.open(csi_pipeline(source, options), cv::CAP_GSTREAMER);
  if (is_pipeline(source)) return video_.open(source, cv::CAP_GSTREAMER);
  if (!is_stream(source)) return video_.open(source);
#if CV_VERSION_MAJOR * 10000 + CV_VERSION_MINOR * 100 + CV_VERSION_REVISION >= 40502
  // CAP_PROP_OPEN_TIMEOUT_MSEC and CAP_PROP_READ_TIMEOUT_MSEC, which are missing in OpenCV 4.5.2.
  // A little more than the camera's own limit, whose message says what happened.
  const int limit_ms = static_cast<int>(1000 * std::min(options.timeout_s, 1e6)) + 500;
  if (video_.open(source, cv::CAP_FFMPEG, {53, limit_ms, 54, limit_ms})) return true;
#endif
#if CV_VERSION_MAJOR * 10000 + CV_VERSION_MINOR * 100 + CV_VERSION_REVISION < 40504
  return video_.open(source, cv::CAP_FFMPEG);
#else
  return false;
#endif
}

void CameraCapture::configure(const std::string& shown, const CameraOptions& options) {
  if (v4l2_ && !options.format.empty()) {
    const std::string& code = options.format;
    video_.set(cv::CAP_PROP_FOURCC, cv::VideoWriter::fourcc(code[0], code[1], code[2], code[3]));
  }
  if (v4l2_ && options.width > 0) {
    video_.set(cv::CAP_PROP_FRAME_WIDTH, options.width);
    video_.set(cv::CAP_PROP_FRAME_HEIGHT, options.height);
  }
  if (v4l2_ && options.rate > 0) video_.set(cv::CAP_PROP_FPS, options.rate);
  const double reported = video_.get(cv::CAP_PROP_FPS);
  rate_ = std::isfinite(reported) && reported > 0 ? reported : kDefaultRate;
  const int width = static_cast<int>(video_.get(cv::CAP_PROP_FRAME_WIDTH));
  const int height = static_cast<int>(video_.get(cv::CAP_PROP_FRAME_HEIGHT));
  const std::string size = std::to_string(width) + "x" + std::to_string(height);
  const std::string format = fourcc_text(video_.get(cv::CAP_PROP_FOURCC));
  description_ = size + (format.empty() ? "" : " " + format) + " at " + number_text(rate_) +
                 " frames/s" + (reported > 0 ? "" : " (not reported)");
  const auto warn = [&](const char* flag, const std::string& wanted, const std::string& given) {
    if (wanted == given) return;
    std::fprintf(stderr, "%s: %s %s: the camera gives %s\n", shown.c_str(), flag, wanted.c_str(),
                 given.c_str());
  };
  if (options.width > 0) {
    warn("--camera-size", std::to_string(options.width) + "x" + std::to_string(options.height),
         size);
  }
  if (options.rate > 0) warn("--camera-fps", number_text(options.rate), number_text(rate_));
  if (!options.format.empty()) warn("--camera-format", options.format, format);
  const bool has_files = (v4l2_ || stream_) && is_jpeg(format);
  jpeg_ = has_files && (v4l2_ ? video_.set(cv::CAP_PROP_CONVERT_RGB, 0)
                              : video_.set(cv::CAP_PROP_FORMAT, -1));
}

bool CameraCapture::grab() {
  try {
    return video_.grab();
  } catch (const cv::Exception&) {
    return false;
  }
}

bool CameraCapture::retrieve(cv::Mat& bgr) {
  try {
    if (jpeg_) return video_.retrieve(file_) && decode_jpeg(file_, bgr);
    return video_.retrieve(bgr) && !bgr.empty() && bgr.type() == CV_8UC3;
  } catch (const cv::Exception&) {  // Corrupted in transfer.
    return false;
  }
}

Clock::time_point CameraCapture::captured() const {
  const Clock::time_point now = Clock::now();
  if (!v4l2_) return now;
  // V4L2 stamps frames by CLOCK_MONOTONIC, which is steady_clock here.
  const double stamp_s = video_.get(cv::CAP_PROP_POS_MSEC) / 1000;
  const double age_s = std::chrono::duration<double>(now.time_since_epoch()).count() - stamp_s;
  if (!(age_s >= 0 && age_s < kOldestFrameS)) return now;
  return now - std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(age_s));
}

}  // namespace kseg
