// One opening of a camera with OpenCV. Every call may hang in a driver or wait for a network.
#pragma once

#include <chrono>
#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>
#include <string>

#include "run/frames.h"

namespace kseg {

// The source for messages, without the user and password of a URL.
std::string shown_source(const std::string& source);

class CameraCapture {
 public:
  // Opens the camera and sets what the options ask for. Warns on stderr where the camera gives
  // something else.
  Status open(const std::string& source, const CameraOptions& options);

  bool grab();

  // The frame just grabbed, BGR; false if it cannot be decoded.
  bool retrieve(cv::Mat& bgr);

  // When the frame just grabbed was captured: by the driver's clock, if it has one, else now.
  Clock::time_point captured() const;

  double rate() const { return rate_; }

  // What the camera gave, for example "640x480 MJPG at 30 frames/s".
  const std::string& description() const { return description_; }

 private:
  bool open_source(const std::string& source, const CameraOptions& options);
  void configure(const std::string& shown, const CameraOptions& options);

  cv::VideoCapture video_;
  bool v4l2_ = false, stream_ = false;
  bool jpeg_ = false;  // Frames arrive as JPEG files.
  cv::Mat file_;
  double rate_ = 0;
  std::string description_;
};

}  // namespace kseg
