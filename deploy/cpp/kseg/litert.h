// LiteRT, loaded at run time, and models compiled by it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kseg/graph.h"
#include "kseg/result.h"
#include "kseg/tflite_file.h"

struct LiteRtEnvironmentT;

namespace kseg {

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
  friend class LiteRtGraph;
  LiteRt() = default;

  void* library_ = nullptr;
  std::string path_, folder_;
  std::unique_ptr<LiteRtFunctions> api_;
  LiteRtEnvironmentT* environment_ = nullptr;
};

// Compiles `tflite`, whose checksum must have been verified, for one accelerator; kGpu fails unless
// every operator runs there. threads 0: LiteRT decides. Errors start with `where`.
Result<std::unique_ptr<Graph>> compile_tflite(std::shared_ptr<const LiteRt> litert, Bytes tflite,
                                              Accelerator accelerator, int threads,
                                              const std::string& where);

}  // namespace kseg
