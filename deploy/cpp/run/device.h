// The accelerator that --device asks for. A GPU's first answer is held against the CPU's.
#pragma once

#include <optional>
#include <string>

#include "kseg/model.h"

namespace kseg {

// Share of pixels on which a GPU must answer as the CPU: what kseg.export asks of fp16, which GPUs
// compute in.
constexpr double kGpuAgreement = 0.995;

class Device {
 public:
  // name: "cpu", "gpu" or "auto", which is the GPU or, said on stderr, the CPU.
  static Result<Device> open(const std::string& model, SegmenterOptions options,
                             const std::string& name);

  const Contract& contract() const { return segmenter_.contract(); }
  Accelerator accelerator() const { return segmenter_.accelerator(); }

  // As Segmenter::run. After an error that `refused`, the GPU is not to be used.
  Status run(const FrameView& frame, Image& class_map, RunTimes& times);
  bool refused() const { return refused_; }

 private:
  Device(std::string model, Segmenter segmenter) :
      model_(std::move(model)), segmenter_(std::move(segmenter)) {}

  Status check(const FrameView& frame, Image& class_map);

  std::string model_;
  Segmenter segmenter_;
  std::optional<Segmenter> cpu_;  // Until a GPU has been held against it.
  bool may_fall_back_ = false, refused_ = false;
};

}  // namespace kseg
