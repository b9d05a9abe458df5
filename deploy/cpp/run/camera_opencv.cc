#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <thread>

#include "run/camera.h"
#include "run/systemd_notify.h"
#include "run/stop_signals.h"

namespace kseg {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFirstWait = std::chrono::milliseconds(100);
constexpr auto kLongestWait = std::chrono::milliseconds(2000);
constexpr auto kStep = std::chrono::milliseconds(100);  // Signals are handled within this time.

// NVIDIA's camera source delivers planar frames in its own memory; OpenCV needs BGR. appsink keeps
// only the newest frame.
constexpr const char* kCsiPipeline =
    "nvarguscamerasrc sensor-id=%d ! video/x-raw(memory:NVMM) ! nvvidconv ! "
    "video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
    "appsink drop=true max-buffers=1";

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

bool is_csi(const std::string& source) {
  return source.rfind("csi:", 0) == 0 && is_number(source.substr(4));
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void pause(Clock::duration time) {
  const auto end = Clock::now() + time;
  while (stop_signal() == 0 && Clock::now() < end) {
    std::this_thread::sleep_for(std::min<Clock::duration>(kStep, end - Clock::now()));
  }
}

class Camera : public FrameSource {
 public:
  Camera(std::string source, double reconnect_s)
      : source_(std::move(source)), reconnect_s_(reconnect_s) {}

  bool open() {
    try {
      if (is_number(source_)) return video_.open(std::atoi(source_.c_str()));
      if (is_csi(source_)) {
        char pipeline[512];
        std::snprintf(pipeline, sizeof pipeline, kCsiPipeline, std::atoi(source_.c_str() + 4));
        return video_.open(pipeline, cv::CAP_GSTREAMER);
      }
      if (source_.find(" ! ") != std::string::npos) {
        return video_.open(source_, cv::CAP_GSTREAMER);
      }
      return video_.open(source_);
    } catch (const cv::Exception&) {
      return false;
    }
  }

  Result<FrameStatus> next(Image& frame, std::string& name) override {
    name = "camera";
    if (!grab()) {
      const Status connected = reconnect();
      if (!connected) return connected.error();
      if (stop_signal() != 0) return FrameStatus::kEnd;
    }
    const int number = count_++;
    if (number == 0) first_ = Clock::now();
    time_s_ = seconds_since(first_);
    try {
      if (video_.retrieve(bgr_) && !bgr_.empty()) {
        frame.resize({bgr_.rows, bgr_.cols}, 3);
        cv::Mat rgb(bgr_.rows, bgr_.cols, CV_8UC3, frame.data.data());
        cv::cvtColor(bgr_, rgb, cv::COLOR_BGR2RGB);
        return FrameStatus::kFrame;
      }
    } catch (const cv::Exception&) {  // Corrupted in transfer, or not BGR.
    }
    name = source_ + ": frame " + std::to_string(number) + " cannot be decoded";
    return FrameStatus::kCorrupt;
  }

  std::optional<double> rate() const override {
    const double rate = video_.get(cv::CAP_PROP_FPS);
    return rate > 0 ? rate : 25;
  }

  std::optional<double> time_s() const override { return time_s_; }

  std::optional<int> times_lost() const override { return times_lost_; }

 private:
  bool grab() {
    try {
      return video_.grab();
    } catch (const cv::Exception&) {
      return false;
    }
  }

  // Reopens the camera until it delivers a frame or a stop signal arrives.
  Status reconnect() {
    const auto lost_at = Clock::now();
    ++times_lost_;
    std::fprintf(stderr, "%s: camera lost; trying again for %g s\n", source_.c_str(), reconnect_s_);
    for (Clock::duration wait = kFirstWait; stop_signal() == 0;
         wait = std::min<Clock::duration>(2 * wait, kLongestWait)) {
      notify_systemd("WATCHDOG=1");
      video_.release();
      if (open() && grab()) {
        std::fprintf(stderr, "%s: camera back after %.1f s\n", source_.c_str(),
                     seconds_since(lost_at));
        return Done{};
      }
      if (seconds_since(lost_at) >= reconnect_s_) {
        char limit[32];
        std::snprintf(limit, sizeof limit, "%g", reconnect_s_);
        return Error{source_ + ": no frame for " + limit + " s"};
      }
      pause(wait);
    }
    return Done{};
  }

  std::string source_;
  double reconnect_s_;
  cv::VideoCapture video_;
  cv::Mat bgr_;
  int count_ = 0, times_lost_ = 0;
  Clock::time_point first_;
  double time_s_ = 0;
};

}  // namespace

bool is_camera(const std::string& source) {
  return is_number(source) || is_csi(source) || source.rfind("/dev/", 0) == 0 ||
         source.find(" ! ") != std::string::npos;
}

Result<std::unique_ptr<FrameSource>> open_camera(const std::string& source, double reconnect_s) {
  auto camera = std::make_unique<Camera>(source, reconnect_s);
  if (!camera->open()) return Error{source + ": cannot be opened as a camera"};
  return std::unique_ptr<FrameSource>(std::move(camera));
}

}  // namespace kseg
