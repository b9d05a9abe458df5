// Segmenter: runs a kseg model on frames of any size.
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
  int threads = 0;     // CPU threads; 0: LiteRT decides.
  std::string litert;  // libLiteRt.so or its folder; empty: see LiteRt::open.
};

// Time of each stage of Segmenter::run.
struct StageLaps {
  Lap fit, inference, unfit;
};

// One model on one accelerator. Not thread-safe: use one Segmenter per thread.
class Segmenter {
 public:
  // Fails with one line if the file is not a supported model or LiteRT cannot run it. There is no
  // silent fallback: kGpu fails unless the complete graph runs on the GPU.
  static Result<Segmenter> load(const std::string& path, const SegmenterOptions& options);

  const Contract& contract() const { return contract_; }
  Accelerator accelerator() const { return accelerator_; }

  // A frame of any size -> class ids of the frame's size. Buffers are kept, so frames of one size
  // run in constant memory. `laps` may be null.
  Status run(const FrameView& frame, Image& class_map, StageLaps* laps = nullptr);

  // A frame that was already fitted to the input's size -> class ids of that size.
  Status run_fitted(const FrameView& frame, Image& class_map);

  // The model's input and class ids in the last call of run().
  const Image& fitted() const { return fitted_; }
  const Image& ids() const { return ids_; }

 private:
  Segmenter(Contract contract, Graph graph, Accelerator accelerator);

  Status infer(const FrameView& fitted, Image& class_map);
  Status read_class_map(Image& class_map) const;
  Status argmax_logits(Image& class_map) const;

  Contract contract_;
  Graph graph_;
  Accelerator accelerator_;
  Image fitted_, ids_;
  std::vector<float> input_;          // Used when the input is float32.
  std::vector<std::uint8_t> output_;  // Raw output of the graph.
};

}  // namespace kseg
