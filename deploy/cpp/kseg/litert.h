// LiteRT, loaded at run time, and a model compiled by it.
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

// libLiteRt.so of an ai-edge-litert wheel (x86-64 or aarch64) and one environment in it.
class LiteRt {
 public:
  // `path`: the library or its folder; empty: $KSEG_LITERT, then the linker's own search. The GPU
  // accelerator (libLiteRtWebGpuAccelerator.so beside it) is loaded only when asked for.
  static Result<std::shared_ptr<const LiteRt>> open(const std::string& path, bool with_gpu);

  ~LiteRt();
  LiteRt(const LiteRt&) = delete;
  LiteRt& operator=(const LiteRt&) = delete;

  const std::string& path() const { return path_; }
  std::string version() const;  // "2.3.0" by the wheel it lies in; "unknown" elsewhere.
  std::vector<std::string> accelerators() const;

 private:
  friend class Graph;
  LiteRt() = default;

  void* library_ = nullptr;
  std::string path_, folder_;
  std::unique_ptr<LiteRtFunctions> api_;
  LiteRtEnvironmentT* environment_ = nullptr;
};

// A graph with one input and one output of fixed shapes.
class Graph {
 public:
  struct Tensor {
    DataType type = DataType::kUint8;
    std::vector<int> shape;

    std::size_t bytes() const;
    std::string text() const;  // "(1, 72, 128, 3) uint8"
  };

  // Compiles `tflite`, which must be whole (check_whole), for one accelerator; kGpu fails unless
  // every operator runs there. threads 0: LiteRT decides. Errors name `where`.
  static Result<Graph> compile(std::shared_ptr<const LiteRt> litert, Bytes tflite,
                               Accelerator accelerator, int threads, const std::string& where);

  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  const Tensor& input() const;
  const Tensor& output() const;

  // Runs once: input().bytes() from `input`, output().bytes() to `output`.
  Status run(const void* input, void* output);

 private:
  struct State;
  explicit Graph(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace kseg
