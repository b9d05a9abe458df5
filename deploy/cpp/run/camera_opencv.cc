#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <opencv2/imgproc.hpp>
#include <thread>

#include "run/camera.h"
#include "run/camera_capture.h"
#include "run/stop_signals.h"
#include "run/systemd_notify.h"

namespace kseg {
namespace {

constexpr double kFirstPauseS = 0.1, kLongestPauseS = 2;  // Between attempts to reopen a camera.
constexpr auto kStep = std::chrono::milliseconds(100);  // Signals are handled within this time.
constexpr double kReleaseS = 5;  // A thread that does not end within this time hangs.

std::atomic<bool> hangs{false};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

// What the capture thread shares with its camera. The thread may hang in a driver for ever and
// outlive the camera, so both own it.
struct Connection {
  std::mutex mutex;
  std::condition_variable changed;
  bool opened = false, ended = false;  // Set by the thread.
  bool stop = false, wanted = false;   // Set by the camera. Until wanted, frames are discarded.
  std::string problem;                 // Why it could not be opened.
  std::string description;
  double rate = 0;
  Frame newest;
  bool has_newest = false;
  int arrived = 0, dropped = 0;
  std::deque<int> corrupt;  // Numbers of the frames that could not be decoded.
};

// Reads the next frame. Returns false when the camera delivers none.
bool read_frame(CameraCapture& capture, Connection& shared, cv::Mat& bgr, Frame& frame) {
  if (!capture.grab()) return false;
  frame.captured = capture.captured();
  {
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (!shared.wanted) return true;
  }
  const bool decoded = capture.retrieve(bgr);
  if (decoded) {
    frame.image.resize({bgr.rows, bgr.cols}, 3);
    cv::Mat rgb(bgr.rows, bgr.cols, CV_8UC3, frame.image.data.data());
    cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
  }
  const std::lock_guard<std::mutex> lock(shared.mutex);
  frame.number = shared.arrived++;
  if (decoded) {
    shared.dropped += shared.has_newest ? 1 : 0;
    std::swap(shared.newest, frame);
    shared.has_newest = true;
  } else {
    shared.corrupt.push_back(frame.number);
  }
  shared.changed.notify_all();
  return true;
}

void capture_frames(const std::shared_ptr<Connection>& shared, const std::string& source,
                    const CameraOptions& options) {
  {
    CameraCapture capture;
    const Status opened = capture.open(source, options);
    {
      const std::lock_guard<std::mutex> lock(shared->mutex);
      shared->opened = static_cast<bool>(opened);
      if (opened) {
        shared->rate = capture.rate();
        shared->description = capture.description();
      } else {
        shared->problem = opened.error().message;
      }
      shared->changed.notify_all();
    }
    cv::Mat bgr;
    Frame frame;
    bool delivers = static_cast<bool>(opened);
    while (delivers) {
      delivers = read_frame(capture, *shared, bgr, frame);
      const std::lock_guard<std::mutex> lock(shared->mutex);
      delivers = delivers && !shared->stop;
    }
  }  // Releases the camera, which may hang too.
  const std::lock_guard<std::mutex> lock(shared->mutex);
  shared->ended = true;
  shared->changed.notify_all();
}

class Camera : public FrameSource {
 public:
  Camera(std::string source, CameraOptions options)
      : source_(std::move(source)), shown_(shown_source(source_)), options_(std::move(options)) {}

  ~Camera() override { disconnect(kReleaseS); }

  // Opens the camera. A stop signal ends the wait, and then next() returns kEnd.
  Status open() {
    connect();
    std::unique_lock<std::mutex> lock(shared_->mutex);
    wait(lock, options_.timeout_s, [&] { return shared_->opened || shared_->ended; });
    if (shared_->opened || stop_signal() != 0) {
      rate_ = shared_->rate;
      description_ = shared_->description;
      return Done{};
    }
    if (!shared_->problem.empty()) return Error{shared_->problem};
    return Error{shown_ + ": did not open within " + seconds_text(options_.timeout_s) +
                 "; the driver or the server hangs (--camera-timeout)"};
  }

  Result<FrameStatus> next(Frame& frame) override {
    while (stop_signal() == 0) {
      {
        std::unique_lock<std::mutex> lock(shared_->mutex);
        shared_->wanted = true;
        wait(lock, options_.timeout_s, [&] {
          return shared_->has_newest || !shared_->corrupt.empty() || shared_->ended;
        });
        if (shared_->has_newest || !shared_->corrupt.empty()) return take(frame);
      }
      if (stop_signal() != 0) break;
      const Status connected = reconnect();
      if (!connected) return connected.error();
    }
    return FrameStatus::kEnd;
  }

  std::optional<double> rate() const override { return rate_ > 0 ? rate_ : 25; }
  std::optional<int> times_lost() const override { return times_lost_; }
  std::string description() const override { return description_; }

  int dropped() const override {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    return dropped_before_ + shared_->dropped;
  }

 private:
  void connect() {
    auto shared = std::make_shared<Connection>();
    shared->wanted = shared_ != nullptr;  // Later than at the start, no frame is discarded.
    if (shared_) shared->arrived = shared_->arrived;
    shared_ = std::move(shared);
    thread_ = std::thread(capture_frames, shared_, source_, options_);
  }

  // Asks the thread to end. Returns whether it did within this time.
  bool disconnect(double limit_s) {
    if (!thread_.joinable()) return true;
    {
      std::unique_lock<std::mutex> lock(shared_->mutex);
      shared_->stop = true;
      const auto limit = std::chrono::duration<double>(limit_s);
      if (!shared_->changed.wait_for(lock, limit, [&] { return shared_->ended; })) {
        hangs = true;
        thread_.detach();
        return false;
      }
    }
    thread_.join();
    return true;
  }

  // Waits until `ready`, for `limit_s` or until a stop signal arrives.
  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, double limit_s, Ready ready) {
    const auto start = Clock::now();
    while (!ready() && stop_signal() == 0 && seconds_since(start) < limit_s) {
      shared_->changed.wait_for(lock, kStep);
    }
  }

  FrameStatus take(Frame& frame) {  // Under the lock.
    if (!shared_->corrupt.empty()) {
      frame.number = shared_->corrupt.front();
      shared_->corrupt.pop_front();
      frame.name = shown_ + ": frame " + std::to_string(frame.number) + " cannot be decoded";
      return FrameStatus::kCorrupt;
    }
    std::swap(shared_->newest, frame);
    shared_->has_newest = false;
    if (!first_) first_ = frame.captured;
    frame.name = "camera";
    frame.time_s = std::chrono::duration<double>(frame.captured - *first_).count();
    return FrameStatus::kFrame;
  }

  // Reopens the camera until it delivers a frame or a stop signal arrives. While the thread hangs
  // in a driver, it waits for that: a second one would hang in the same place.
  Status reconnect() {
    const auto lost_at = Clock::now();
    ++times_lost_;
    const std::string limit = seconds_text(options_.reconnect_s);
    std::fprintf(stderr, "%s: camera lost; trying again for %s\n", shown_.c_str(), limit.c_str());
    for (double pause_s = kFirstPauseS; stop_signal() == 0;
         pause_s = std::min(2 * pause_s, kLongestPauseS)) {
      notify_systemd("WATCHDOG=1");
      if (reopened(options_.reconnect_s - seconds_since(lost_at))) {
        std::fprintf(stderr, "%s: camera back after %.1f s\n", shown_.c_str(),
                     seconds_since(lost_at));
        return Done{};
      }
      if (seconds_since(lost_at) >= options_.reconnect_s) {
        return Error{shown_ + ": no frame for " + limit};
      }
      std::unique_lock<std::mutex> lock(shared_->mutex);
      wait(lock, pause_s, [] { return false; });
    }
    return Done{};
  }

  // Opens the camera again, once the thread has ended. Returns whether it delivers a frame.
  bool reopened(double left_s) {
    std::unique_lock<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
    if (!shared_->ended) return false;
    lock.unlock();
    thread_.join();
    dropped_before_ += shared_->dropped;
    connect();
    lock = std::unique_lock<std::mutex>(shared_->mutex);
    const double limit_s = std::min(2 * options_.timeout_s, std::max(left_s, 1.0));
    wait(lock, limit_s, [&] { return shared_->has_newest || shared_->ended; });
    if (!shared_->has_newest) return false;
    description_ = shared_->description;
    return true;
  }

  std::string source_, shown_;
  CameraOptions options_;
  std::shared_ptr<Connection> shared_;
  std::thread thread_;
  std::string description_;
  double rate_ = 0;
  int times_lost_ = 0, dropped_before_ = 0;
  std::optional<Clock::time_point> first_;
};

}  // namespace

bool capture_thread_hangs() { return hangs; }

Result<std::unique_ptr<FrameSource>> open_camera(const std::string& source,
                                                 const CameraOptions& options) {
  auto camera = std::make_unique<Camera>(source, options);
  const Status opened = camera->open();
  if (!opened) return opened.error();
  return std::unique_ptr<FrameSource>(std::move(camera));
}

}  // namespace kseg
