// The model in the car: a frame in, class ids out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/fit.h"
#include "kseg/litert.h"
#include "kseg/result.h"
#include "kseg/stopwatch.h"

namespace kseg {

struct SegmenterOptions {
  Accelerator accelerator = Accelerator::kCpu;
  int threads = 0;     // Of the CPU; 0: LiteRT decides.
  std::string litert;  // libLiteRt.so or its folder; empty: $KSEG_LITERT, the linker's search.
};

// What the parts of Segmenter::run took.
struct RunTimes {
  Lap fit, inference, unfit;
};

// One model on one accelerator. Not for two threads at once; make one Segmenter for each.
class Segmenter {
 public:
  // Errors: one line that says what is wrong with the file, or with LiteRT. There is no silent
  // fallback: kGpu fails unless the whole graph runs on the GPU.
  static Result<Segmenter> load(const std::string& path, const SegmenterOptions& options);

  const Contract& contract() const { return contract_; }
  Accelerator accelerator() const { return accelerator_; }

  // A frame of any size -> class ids (frame's height and width). What it allocates, it keeps: a
  // stream of equal frames runs in constant memory. `times` may be null.
  Status run(const FrameView& frame, Image& class_map, RunTimes* times = nullptr);

  // A frame that already has the input's size, fitted elsewhere -> ids of that size.
  Status run_fitted(const FrameView& frame, Image& class_map);

 private:
  Segmenter(Contract contract, Graph graph, Accelerator accelerator);

  Status infer(const FrameView& fitted, Image& class_map);
  Status take_class_map(Image& class_map) const;
  void take_logits(Image& class_map) const;

  Contract contract_;
  Graph graph_;
  Accelerator accelerator_;
  Image fitted_, ids_;
  std::vector<float> input_;          // When the input is float32.
  std::vector<std::uint8_t> output_;  // As the graph answers.
};

}  // namespace kseg
