// Segmenter: runs a kseg model on frames of any size.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/fit.h"
#include "kseg/graph.h"
#include "kseg/result.h"
#include "kseg/stopwatch.h"

namespace kseg {

struct SegmenterOptions {
  Accelerator accelerator = Accelerator::kCpu;
  int threads = 0;            // CPU threads; 0: the runtime decides.
  std::string litert{};       // libLiteRt.so or its folder; empty: see LiteRt::open.
  std::string onnxruntime{};  // libonnxruntime.so or its folder; empty: see open_onnx.
};

// Time of each stage of Segmenter::run.
struct StageLaps {
  Lap fit, inference, unfit;
};

// One model on one accelerator. Not thread-safe: use one Segmenter per thread.
class Segmenter {
 public:
  // A .tflite runs on LiteRT, an .onnx on ONNX Runtime, whose GPU is TensorRT, or else CUDA.
  // Fails with one line if the file is not a supported model or cannot be run. There is no
  // silent fallback: kGpu fails unless the complete graph runs on the GPU.
  static Result<Segmenter> load(const std::string& path, const SegmenterOptions& options);

  const Contract& contract() const { return contract_; }
  const std::string& device() const { return graph_->device(); }    // See Graph.
  const std::string& runtime() const { return graph_->runtime(); }  // See Graph.

  // A frame of any size -> class ids of the frame's size. Buffers are kept, so frames of one size
  // run in constant memory. `laps` may be null.
  Status run(const FrameView& frame, Image& class_map, StageLaps* laps = nullptr);

  // A frame that was already fitted to the input's size -> class ids of that size.
  Status run_fitted(const FrameView& frame, Image& class_map);

  // The model's input and class ids in the last call of run().
  const Image& fitted() const { return fitted_; }
  const Image& ids() const { return ids_; }

 private:
  Segmenter(Contract contract, std::unique_ptr<Graph> graph);

  Status infer(const FrameView& fitted, Image& class_map);
  Status read_class_map(Image& class_map) const;
  Status argmax_logits(Image& class_map) const;

  Contract contract_;
  std::unique_ptr<Graph> graph_;
  Image fitted_, ids_;
  std::vector<float> input_;          // Used when the input is float32.
  std::vector<std::uint8_t> output_;  // Raw output of the graph.
};

}  // namespace kseg
