// LiteRT, loaded at run time, and models compiled by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/result.h"
#include "kseg/tflite_file.h"

struct LiteRtEnvironmentT;

namespace kseg {

enum class Accelerator { kCpu, kGpu };

const char* name_of(Accelerator accelerator);

struct LiteRtFunctions;  // litert.cc

// libLiteRt.so from an ai-edge-litert wheel (x86-64 or aarch64), and one LiteRT environment.
class LiteRt {
 public:
  // `path`: the library or its folder; empty: $KSEG_LITERT, then the dynamic linker's search path.
  // with_gpu: also load the GPU accelerator (libLiteRtWebGpuAccelerator.so in the same folder).
  static Result<std::shared_ptr<const LiteRt>> open(const std::string& path, bool with_gpu);

  ~LiteRt();
  LiteRt(const LiteRt&) = delete;
  LiteRt& operator=(const LiteRt&) = delete;

  const std::string& path() const { return path_; }
  std::string version() const;  // "2.3.0", from the wheel's metadata; "unknown" outside a wheel.
  std::vector<std::string> accelerators() const;

 private:
  friend class Graph;
  LiteRt() = default;

  void* library_ = nullptr;
  std::string path_, folder_;
  std::unique_ptr<LiteRtFunctions> api_;
  LiteRtEnvironmentT* environment_ = nullptr;
};

// A compiled graph with one input and one output of fixed shapes.
class Graph {
 public:
  struct Tensor {
    DataType type = DataType::kUint8;
    std::vector<int> shape;

    std::size_t bytes() const;
    std::string text() const;  // "(1, 72, 128, 3) uint8"
  };

  // Compiles `tflite`, whose checksum must have been verified, for one accelerator; kGpu fails
  // unless every operator runs there. threads 0: LiteRT decides. Errors start with `where`.
  static Result<Graph> compile(std::shared_ptr<const LiteRt> litert, Bytes tflite,
                               Accelerator accelerator, int threads, const std::string& where);

  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  const Tensor& input() const;
  const Tensor& output() const;

  // Runs once: reads input().bytes() from `input`, writes output().bytes() to `output`.
  Status run(const void* input, void* output);

 private:
  struct State;
  explicit Graph(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace kseg
