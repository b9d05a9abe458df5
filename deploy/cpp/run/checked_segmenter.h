// A Segmenter on the device that --device names. A GPU's first class map is compared with the
// CPU's.
#pragma once

#include <optional>
#include <string>

#include "kseg/segmenter.h"

namespace kseg {

// Smallest share of pixels on which GPU and CPU must agree: kseg.export's limit for fp16, the
// precision GPUs compute in.
constexpr double kMinGpuAgreement = 0.995;

class CheckedSegmenter {
 public:
  // device: "cpu", "gpu" or "auto", which falls back from the GPU to the CPU with a message on
  // stderr.
  static Result<CheckedSegmenter> open(const std::string& model, SegmenterOptions options,
                                       const std::string& device);

  const Contract& contract() const { return segmenter_.contract(); }
  Accelerator accelerator() const { return segmenter_.accelerator(); }

  // As Segmenter::run. If it fails and gpu_rejected(), the GPU must not be used.
  Status run(const FrameView& frame, Image& class_map, StageLaps& laps);
  bool gpu_rejected() const { return gpu_rejected_; }

 private:
  CheckedSegmenter(std::string model, Segmenter segmenter)
      : model_(std::move(model)), segmenter_(std::move(segmenter)) {}

  // on_gpu, class_map: what the GPU returned.
  Status compare_with_cpu(const FrameView& frame, const Status& on_gpu, Image& class_map);

  std::string model_;
  Segmenter segmenter_;
  std::optional<Segmenter> cpu_;  // Until a GPU has been compared with it.
  bool may_fall_back_ = false, gpu_rejected_ = false;
};

}  // namespace kseg
