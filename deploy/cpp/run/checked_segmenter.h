// A Segmenter on the device that --device names. A GPU's class maps are compared with the CPU's at
// the start and while driving.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "kseg/segmenter.h"
#include "run/gpu_check.h"
#include "run/json_lines.h"

namespace kseg {

class CheckedSegmenter {
 public:
  // device: "cpu", "gpu" or "auto", which falls back from the GPU to the CPU with a message on
  // stderr. recheck_s: seconds between comparisons; 0: only at the start.
  static Result<CheckedSegmenter> open(const std::string& model, SegmenterOptions options,
                                       const std::string& device, double recheck_s);

  // gpu: none if there is no GPU to use. Until a frame has been compared, the CPU's class maps are
  // returned; later ones are compared in a thread of their own.
  CheckedSegmenter(std::string model, std::optional<Segmenter> gpu, Segmenter cpu,
                   bool may_fall_back, double recheck_s);

  const Contract& contract() const { return cpu_->contract(); }
  // What frames run on: Graph::device() and runtime().
  const std::string& device() const { return gpu_ ? gpu_->device() : cpu_->device(); }
  const std::string& runtime() const { return cpu_->runtime(); }

  // As Segmenter::run. If it fails and gpu_rejected() or gpu_lost(), no more frames may follow: the
  // GPU was wrong at the start, or turned wrong later.
  Status run(const FrameView& frame, Image& class_map, StageLaps& laps);
  bool gpu_rejected() const { return rejected_ && !trusted_; }
  bool gpu_lost() const { return rejected_ && trusted_; }

  // Waits for a comparison that is still running. Fails as run() does.
  Status finish();

  // What a JSON line says of the last comparison; none before it.
  std::optional<GpuCheckLine> last_check() const;
  // The line of the summary; empty if no GPU was used.
  std::string summary() const;

 private:
  using Clock = std::chrono::steady_clock;

  Status compare_first(const FrameView& frame, Image& class_map);
  Status note(const Comparison& comparison);
  Status reject(const std::string& problem);
  double seconds_since(Clock::time_point time) const;

  std::string model_;
  std::optional<Segmenter> gpu_;  // None once the CPU is in use.
  std::shared_ptr<Segmenter> cpu_;
  bool may_fall_back_, used_gpu_, trusted_ = false, rejected_ = false;
  double recheck_s_, wait_s_ = 0;  // wait_s_: from the last comparison to the next.
  int compared_ = 0, passed_over_ = 0;
  double last_ = 0, lowest_ = 1, highest_ = 0, cpu_ms_ = 0;
  Clock::time_point tried_at_{}, compared_at_{};
  std::future<Comparison> pending_;  // Last: its thread uses the others until it is destroyed.
};

}  // namespace kseg
