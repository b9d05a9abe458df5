#include "run/checked_segmenter.h"

#include <cstdio>
#include <utility>

namespace kseg {
namespace {

double share_equal(const Image& a, const Image& b) {
  if (a.data.empty() || a.data.size() != b.data.size()) return 0;
  std::size_t equal = 0;
  for (std::size_t i = 0; i < a.data.size(); ++i) equal += a.data[i] == b.data[i] ? 1U : 0U;
  return static_cast<double>(equal) / static_cast<double>(a.data.size());
}

void report_fallback(const std::string& reason) {
  std::fprintf(stderr, "no GPU: %s; running on the CPU\n", reason.c_str());
}

}  // namespace

Result<CheckedSegmenter> CheckedSegmenter::open(const std::string& model,
                                                SegmenterOptions options,
                                                const std::string& device) {
  SegmenterOptions on_gpu = options;
  options.accelerator = Accelerator::kCpu;
  on_gpu.accelerator = Accelerator::kGpu;
  if (device != "cpu") {
    auto gpu = Segmenter::load(model, on_gpu);
    if (!gpu && device == "gpu") return gpu.error();
    if (gpu) {
      auto cpu = Segmenter::load(model, options);
      if (!cpu) return cpu.error();
      CheckedSegmenter checked(model, std::move(*gpu));
      checked.cpu_.emplace(std::move(*cpu));
      checked.may_fall_back_ = device == "auto";
      return checked;
    }
    report_fallback(gpu.error().message);
  }
  auto cpu = Segmenter::load(model, options);
  if (!cpu) return cpu.error();
  return CheckedSegmenter(model, std::move(*cpu));
}

Status CheckedSegmenter::run(const FrameView& frame, Image& class_map, StageLaps& laps) {
  const Status done = segmenter_.run(frame, class_map, &laps);
  return cpu_ ? compare_with_cpu(frame, done, class_map) : done;
}

Status CheckedSegmenter::compare_with_cpu(const FrameView& frame, const Status& on_gpu,
                                          Image& class_map) {
  Image expected;
  const Status done = cpu_->run(frame, expected);
  if (!done) return done;  // The frame shows nothing about the GPU.
  const double agreement = on_gpu ? share_equal(class_map, expected) : 0;
  char share[64];
  std::snprintf(share, sizeof share, "%.3f %% of the first frame's pixels", 100 * agreement);
  if (agreement >= kMinGpuAgreement) {
    std::fprintf(stderr, "GPU: agrees with the CPU on %s\n", share);
    cpu_.reset();
    return Done{};
  }
  char limit[32];
  std::snprintf(limit, sizeof limit, " (limit %.1f%%)", 100 * kMinGpuAgreement);
  const std::string reason =
      model_ + (on_gpu ? ": the GPU agrees with the CPU on only " + std::string(share) + limit
                       : ": on the GPU " + on_gpu.error().message);
  if (!may_fall_back_) {
    gpu_rejected_ = true;
    return Error{reason + "; use --device cpu"};
  }
  report_fallback(reason);
  segmenter_ = std::move(*cpu_);
  cpu_.reset();
  class_map = std::move(expected);
  return Done{};
}

}  // namespace kseg
