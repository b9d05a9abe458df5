#include "run/device.h"

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

void say_no_gpu(const std::string& why) {
  std::fprintf(stderr, "no GPU: %s; running on the CPU\n", why.c_str());
}

}  // namespace

Result<Device> Device::open(const std::string& model, SegmenterOptions options,
                            const std::string& name) {
  SegmenterOptions on_gpu = options;
  options.accelerator = Accelerator::kCpu;
  on_gpu.accelerator = Accelerator::kGpu;
  if (name != "cpu") {
    auto gpu = Segmenter::load(model, on_gpu);
    if (!gpu && name == "gpu") return gpu.error();
    if (gpu) {
      auto cpu = Segmenter::load(model, options);
      if (!cpu) return cpu.error();
      Device device(model, std::move(*gpu));
      device.cpu_.emplace(std::move(*cpu));
      device.may_fall_back_ = name == "auto";
      return device;
    }
    say_no_gpu(gpu.error().message);
  }
  auto cpu = Segmenter::load(model, options);
  if (!cpu) return cpu.error();
  return Device(model, std::move(*cpu));
}

Status Device::run(const FrameView& frame, Image& class_map, RunTimes& times) {
  const Status done = segmenter_.run(frame, class_map, &times);
  if (!done || !cpu_) return done;
  return check(frame, class_map);
}

Status Device::check(const FrameView& frame, Image& class_map) {
  Image expected;
  const Status done = cpu_->run(frame, expected);
  if (!done) return done;
  const double agreement = share_equal(class_map, expected);
  char share[64];
  std::snprintf(share, sizeof share, "%.3f %% of the first frame's pixels", 100 * agreement);
  if (agreement >= kGpuAgreement) {
    std::fprintf(stderr, "GPU: answers as the CPU on %s\n", share);
    cpu_.reset();
    return Done{};
  }
  char limit[32];
  std::snprintf(limit, sizeof limit, " only (limit %.1f%%)", 100 * kGpuAgreement);
  const std::string why = model_ + ": the GPU answers as the CPU on " + share + limit;
  if (!may_fall_back_) {
    refused_ = true;
    return Error{why + "; use --device cpu"};
  }
  say_no_gpu(why);
  segmenter_ = std::move(*cpu_);
  cpu_.reset();
  class_map = std::move(expected);
  return Done{};
}

}  // namespace kseg
