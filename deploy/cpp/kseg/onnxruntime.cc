#include "kseg/onnxruntime.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "kseg/onnxruntime_api.h"

namespace kseg {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTensorRt = "TensorrtExecutionProvider";
constexpr const char* kCuda = "CUDAExecutionProvider";

// OrtApi and OrtEnv. The library stays loaded: drivers leave threads and exit handlers behind.
class OnnxRuntime {
 public:
  static Result<std::shared_ptr<const OnnxRuntime>> open(const std::string& path);
  ~OnnxRuntime() {
    if (env_ != nullptr) call<void>(kReleaseEnv, env_);
  }

  // Calls a function of OrtApi, whose types must be exactly those of the C API.
  template <typename R, typename... Args>
  R call(OrtFunction function, Args... args) const {
    using Pointer = R (*)(Args...);
    return reinterpret_cast<Pointer>(const_cast<void*>(api_[function]))(args...);
  }

  // The same for functions that return a status. Returns the first line of the error; empty: none.
  template <typename... Args>
  std::string status(OrtFunction function, Args... args) const {
    OrtStatus* const failure = call<OrtStatus*>(function, args...);
    if (failure == nullptr) return "";
    const std::string message =
        call<const char*>(kGetErrorMessage, static_cast<const OrtStatus*>(failure));
    call<void>(kReleaseStatus, failure);
    const std::string line = message.substr(0, message.find('\n'));
    return line.empty() ? "unknown error" : line;
  }

  std::vector<std::string> providers() const;
  const OrtEnv* env() const { return env_; }
  const std::string& version() const { return version_; }

 private:
  const void* const* api_ = nullptr;
  OrtEnv* env_ = nullptr;
  std::string version_;
};

// libonnxruntime.so, or in a wheel's folder libonnxruntime.so.1.22.0.
std::string library_file(const std::string& path) {
  constexpr const char* kName = "libonnxruntime.so";
  const char* variable = std::getenv("KSEG_ONNXRUNTIME");
  const std::string requested = !path.empty() ? path : variable != nullptr ? variable : "";
  std::error_code error;
  if (requested.empty()) return kName;
  if (!fs::is_directory(requested, error)) return requested;
  for (fs::directory_iterator it(requested, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().rfind(kName, 0) == 0) return it->path().string();
  }
  return requested + "/" + kName;
}

Result<std::shared_ptr<const OnnxRuntime>> OnnxRuntime::open(const std::string& path) {
  const std::string file = library_file(path);
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Error{"ONNX Runtime: " + std::string(dlerror()) +
                 "; unpack libonnxruntime.so from an onnxruntime or onnxruntime-gpu wheel and pass "
                 "its folder with --onnxruntime or KSEG_ONNXRUNTIME"};
  }
  using GetBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetBase>(dlsym(library, "OrtGetApiBase"));
  const OrtApiBase* const base = get_base != nullptr ? get_base() : nullptr;
  auto runtime = std::make_shared<OnnxRuntime>();
  if (base != nullptr) runtime->api_ = base->GetApi(kOrtApiVersion);
  if (runtime->api_ == nullptr) {
    return Error{file + ": no ONNX Runtime, or one older than 1.11; use that of a newer wheel"};
  }
  runtime->version_ = base->GetVersionString();
  const std::string problem =
      runtime->status(kCreateEnv, kOrtLoggingLevelError, static_cast<const char*>("kseg"),
                      &runtime->env_);
  if (!problem.empty()) return Error{file + ": ONNX Runtime cannot be initialized (" + problem + ")"};
  return std::shared_ptr<const OnnxRuntime>(std::move(runtime));
}

std::vector<std::string> OnnxRuntime::providers() const {
  char** names = nullptr;
  int count = 0;
  if (!status(kGetAvailableProviders, &names, &count).empty()) return {};
  const std::vector<std::string> out(names, names + count);
  status(kReleaseAvailableProviders, names, count);
  return out;
}

// The folder in which TensorRT keeps the engine of a file. One for each file: ONNX Runtime finds an
// engine by the graph, and would take that of a model with other weights.
std::string engine_cache(const Bytes& onnx) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path root = cache != nullptr && *cache != '\0'
                            ? fs::path(cache)
                            : fs::path(home != nullptr ? home : ".") / ".cache";
  const fs::path folder =
      root / "kseg" / "tensorrt" /
      (std::to_string(crc32(onnx.data(), onnx.size())) + "-" + std::to_string(onnx.size()));
  std::error_code ignored;  // TensorRT then says that it cannot write there.
  fs::create_directories(folder, ignored);
  return folder.string();
}

class OnnxGraph final : public Graph {
 public:
  explicit OnnxGraph(std::shared_ptr<const OnnxRuntime> runtime) : ort_(std::move(runtime)) {
    runtime_ = "ONNX Runtime " + ort_->version();
  }
  ~OnnxGraph() override {
    if (memory_ != nullptr) ort_->call<void>(kReleaseMemoryInfo, memory_);
    if (session_ != nullptr) ort_->call<void>(kReleaseSession, session_);
    if (options_ != nullptr) ort_->call<void>(kReleaseSessionOptions, options_);
  }

  // provider: kTensorRt, kCuda or null for the CPU. Returns a problem, or an empty string.
  std::string create(const Bytes& onnx, const Contract& contract, int threads,
                     const char* provider);
  bool describe(bool is_input);
  Status run(const void* input, void* output) override;

 private:
  std::string append_tensorrt(const Bytes& onnx, bool in_float16);
  std::string append_cuda();
  std::string make_value(const Tensor& tensor, const void* data, OrtValue** value) const;

  std::shared_ptr<const OnnxRuntime> ort_;
  OrtSessionOptions* options_ = nullptr;
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
  const char* output_name_ = "class_map";
};

std::string OnnxGraph::create(const Bytes& onnx, const Contract& contract, int threads,
                              const char* provider) {
  device_ = provider == nullptr ? "CPU" : provider == kTensorRt ? "TensorRT" : "CUDA";
  if (contract.output_kind == OutputKind::kLogits) output_name_ = "logits";
  std::string problem = ort_->status(kCreateSessionOptions, &options_);
  const auto then = [&problem, this](OrtFunction function, auto... args) {
    if (problem.empty()) problem = ort_->status(function, args...);
  };
  then(kSetSessionLogSeverityLevel, options_, kOrtLoggingLevelError);
  then(kSetIntraOpNumThreads, options_, threads);
  then(kSetInterOpNumThreads, options_, 1);
  then(kCreateCpuMemoryInfo, kOrtDeviceAllocator, kOrtMemTypeDefault, &memory_);
  if (problem.empty() && provider != nullptr) {
    // Fails where the provider would leave an operator to the CPU.
    then(kAddSessionConfigEntry, options_,
         static_cast<const char*>("session.disable_cpu_ep_fallback"), static_cast<const char*>("1"));
    if (problem.empty() && provider == kTensorRt) {
      problem = append_tensorrt(onnx, contract.precision == "fp16");
    }
    // TensorRT leaves operators that it does not have to CUDA.
    if (problem.empty()) problem = append_cuda();
  }
  then(kCreateSessionFromArray, ort_->env(), static_cast<const void*>(onnx.data()), onnx.size(),
       static_cast<const OrtSessionOptions*>(options_), &session_);
  return problem;
}

std::string OnnxGraph::append_tensorrt(const Bytes& onnx, bool in_float16) {
  OrtTensorRTProviderOptionsV2* tensorrt = nullptr;
  std::string problem = ort_->status(kCreateTensorRtProviderOptions, &tensorrt);
  if (!problem.empty()) return problem;
  const std::string folder = engine_cache(onnx);
  const char* keys[] = {"trt_engine_cache_enable", "trt_engine_cache_path",
                        "trt_timing_cache_enable", "trt_fp16_enable",
                        "trt_layer_norm_fp32_fallback"};  // In fp16 its squares overflow.
  const char* values[] = {"1", folder.c_str(), "1", in_float16 ? "1" : "0", "1"};
  problem = ort_->status(kUpdateTensorRtProviderOptions, tensorrt,
                         static_cast<const char* const*>(keys),
                         static_cast<const char* const*>(values), std::size_t{5});
  if (problem.empty()) {
    problem = ort_->status(kAppendExecutionProviderTensorRtV2, options_,
                           static_cast<const OrtTensorRTProviderOptionsV2*>(tensorrt));
  }
  ort_->call<void>(kReleaseTensorRtProviderOptions, tensorrt);
  return problem;
}

std::string OnnxGraph::append_cuda() {
  OrtCUDAProviderOptionsV2* cuda = nullptr;
  std::string problem = ort_->status(kCreateCudaProviderOptions, &cuda);
  if (!problem.empty()) return problem;
  problem = ort_->status(kAppendExecutionProviderCudaV2, options_,
                         static_cast<const OrtCUDAProviderOptionsV2*>(cuda));
  ort_->call<void>(kReleaseCudaProviderOptions, cuda);
  return problem;
}

// Reads type and shape of the only input or output. False: it is none of kseg.export.
bool OnnxGraph::describe(bool is_input) {
  Tensor& tensor = is_input ? input_ : output_;
  const OrtSession* session = session_;
  OrtTypeInfo* info = nullptr;
  const OrtTensorTypeAndShapeInfo* shape = nullptr;
  std::size_t count = 0, rank = 0;
  int type = 0;
  const auto fails = [this](OrtFunction function, auto... args) {
    return !ort_->status(function, args...).empty();
  };
  if (fails(is_input ? kSessionGetInputCount : kSessionGetOutputCount, session, &count) ||
      count != 1 ||
      fails(is_input ? kSessionGetInputTypeInfo : kSessionGetOutputTypeInfo, session,
            std::size_t{0}, &info)) {
    return false;
  }
  std::int64_t sides[4] = {};
  bool valid = !fails(kCastTypeInfoToTensorInfo, static_cast<const OrtTypeInfo*>(info), &shape) &&
               shape != nullptr && !fails(kGetTensorElementType, shape, &type) &&
               !fails(kGetDimensionsCount, shape, &rank) && rank <= 4 &&
               !fails(kGetDimensions, shape, static_cast<std::int64_t*>(sides), rank);
  for (std::size_t i = 0; valid && i < rank; ++i) {
    valid = sides[i] >= 1 && sides[i] <= kMaxSide;
    tensor.shape.push_back(static_cast<int>(sides[i]));
  }
  ort_->call<void>(kReleaseTypeInfo, info);
  tensor.type = type == kOrtFloat   ? DataType::kFloat32
                : type == kOrtInt32 ? DataType::kInt32
                                    : DataType::kUint8;
  return valid && (type == kOrtFloat || type == kOrtInt32 || type == kOrtUint8);
}

std::string OnnxGraph::make_value(const Tensor& tensor, const void* data, OrtValue** value) const {
  const std::vector<std::int64_t> shape(tensor.shape.begin(), tensor.shape.end());
  const int type = tensor.type == DataType::kFloat32 ? kOrtFloat
                   : tensor.type == DataType::kInt32 ? kOrtInt32
                                                     : kOrtUint8;
  return ort_->status(kCreateTensorWithDataAsOrtValue, static_cast<const OrtMemoryInfo*>(memory_),
                      const_cast<void*>(data), tensor.bytes(), shape.data(), shape.size(), type,
                      value);
}

Status OnnxGraph::run(const void* input, void* output) {
  OrtValue *image = nullptr, *result = nullptr;
  std::string problem = make_value(input_, input, &image);
  if (problem.empty()) problem = make_value(output_, output, &result);
  if (problem.empty()) {
    const char* input_name = "image";
    const OrtValue* const inputs[] = {image};
    problem = ort_->status(kRun, session_, static_cast<const void*>(nullptr),
                           static_cast<const char* const*>(&input_name),
                           static_cast<const OrtValue* const*>(inputs), std::size_t{1},
                           static_cast<const char* const*>(&output_name_), std::size_t{1}, &result);
  }
  if (image != nullptr) ort_->call<void>(kReleaseValue, image);
  if (result != nullptr) ort_->call<void>(kReleaseValue, result);
  if (problem.empty()) return Done{};
  return Error{"ONNX Runtime cannot run the model (" + problem + ")"};
}

std::string join(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

}  // namespace

Result<std::unique_ptr<Graph>> open_onnx(const Bytes& onnx, const Contract& contract,
                                         const SegmenterOptions& options,
                                         const std::string& where) {
  const auto runtime = OnnxRuntime::open(options.onnxruntime);
  if (!runtime) return runtime.error();
  const std::vector<std::string> available = (*runtime)->providers();
  std::vector<const char*> candidates{nullptr};
  if (options.accelerator == Accelerator::kGpu) {
    candidates.clear();
    for (const char* provider : {kTensorRt, kCuda}) {
      for (const std::string& name : available) {
        if (name == provider) candidates.push_back(provider);
      }
    }
  }
  std::vector<std::string> problems;
  for (const char* provider : candidates) {
    auto graph = std::make_unique<OnnxGraph>(*runtime);
    const std::string problem = graph->create(onnx, contract, options.threads, provider);
    if (problem.empty() && graph->describe(true) && graph->describe(false)) {
      return std::unique_ptr<Graph>(std::move(graph));
    }
    if (problem.empty()) {
      return Error{where + ": its graph was not written by kseg.export; " + reexport(where)};
    }
    if (provider == nullptr) {
      return Error{where + ": corrupt .onnx file (" + problem + "); " + reexport(where)};
    }
    problems.push_back("ONNX Runtime cannot run it on " + graph->device() + " (" + problem + ")");
  }
  if (problems.empty()) {
    return Error{where + ": this ONNX Runtime has neither TensorRT nor CUDA (" +
                 join(available, ", ") + "); use that of onnxruntime-gpu (deploy/jetson/README.md)"};
  }
  return Error{where + ": " + join(problems, "; ")};
}

}  // namespace kseg
