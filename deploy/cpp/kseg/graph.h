// A graph with one input and one output of fixed shapes, compiled by a runtime for one device.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/result.h"

namespace kseg {

enum class Accelerator { kCpu, kGpu };

struct Tensor {
  DataType type = DataType::kUint8;
  std::vector<int> shape;

  std::size_t bytes() const;
  std::string text() const;  // "(1, 72, 128, 3) uint8"
};

class Graph {
 public:
  virtual ~Graph() = default;

  const Tensor& input() const { return input_; }
  const Tensor& output() const { return output_; }
  // "CPU"; "GPU" (LiteRT's), "TensorRT" or "CUDA" (ONNX Runtime's).
  const std::string& device() const { return device_; }
  // "ONNX Runtime 1.22.0"; empty for LiteRT.
  const std::string& runtime() const { return runtime_; }

  // Runs once: reads input().bytes() from `input`, writes output().bytes() to `output`.
  virtual Status run(const void* input, void* output) = 0;

 protected:
  Tensor input_, output_;
  std::string device_, runtime_;
};

}  // namespace kseg
