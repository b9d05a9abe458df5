#include "kseg/litert.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "kseg/litert_api.h"

namespace kseg {

// The LiteRT functions that kseg calls, in the order of use.
struct LiteRtFunctions {
  LiteRtStatus (*create_environment)(int, const LiteRtEnvOption*, LiteRtEnvironmentT**);
  void (*destroy_environment)(LiteRtEnvironmentT*);
  LiteRtStatus (*num_accelerators)(LiteRtEnvironmentT*, std::size_t*);
  LiteRtStatus (*accelerator)(LiteRtEnvironmentT*, std::size_t, LiteRtAcceleratorT**);
  LiteRtStatus (*accelerator_name)(const LiteRtAcceleratorT*, const char**);
  LiteRtStatus (*model_from_buffer)(LiteRtEnvironmentT*, const void*, std::size_t, LiteRtModelT**);
  void (*destroy_model)(LiteRtModelT*);
  LiteRtStatus (*num_signatures)(LiteRtModelT*, std::size_t*);
  LiteRtStatus (*signature)(LiteRtModelT*, std::size_t, LiteRtSignatureT**);
  LiteRtStatus (*num_inputs)(LiteRtSignatureT*, std::size_t*);
  LiteRtStatus (*num_outputs)(LiteRtSignatureT*, std::size_t*);
  LiteRtStatus (*input_tensor)(LiteRtSignatureT*, std::size_t, LiteRtTensorT**);
  LiteRtStatus (*output_tensor)(LiteRtSignatureT*, std::size_t, LiteRtTensorT**);
  LiteRtStatus (*tensor_type)(LiteRtTensorT*, LiteRtRankedTensorType*);
  LiteRtStatus (*create_options)(LiteRtOptionsT**);
  void (*destroy_options)(LiteRtOptionsT*);
  LiteRtStatus (*set_accelerators)(LiteRtOptionsT*, int);
  LiteRtStatus (*create_opaque)(const char*, void*, void (*)(void*), LiteRtOpaqueOptionsT**);
  LiteRtStatus (*add_opaque)(LiteRtOptionsT*, LiteRtOpaqueOptionsT*);
  LiteRtStatus (*compile)(LiteRtEnvironmentT*, LiteRtModelT*, LiteRtOptionsT*,
                          LiteRtCompiledModelT**);
  void (*destroy_compiled)(LiteRtCompiledModelT*);
  LiteRtStatus (*fully_accelerated)(LiteRtCompiledModelT*, bool*);
  LiteRtStatus (*input_needs)(LiteRtCompiledModelT*, std::size_t, std::size_t,
                              LiteRtTensorBufferRequirementsT**);
  LiteRtStatus (*output_needs)(LiteRtCompiledModelT*, std::size_t, std::size_t,
                               LiteRtTensorBufferRequirementsT**);
  LiteRtStatus (*create_buffer)(LiteRtEnvironmentT*, const LiteRtRankedTensorType*,
                                LiteRtTensorBufferRequirementsT*, LiteRtTensorBufferT**);
  void (*destroy_buffer)(LiteRtTensorBufferT*);
  LiteRtStatus (*packed_size)(LiteRtTensorBufferT*, std::size_t*);
  LiteRtStatus (*lock)(LiteRtTensorBufferT*, void**, int);
  LiteRtStatus (*unlock)(LiteRtTensorBufferT*);
  LiteRtStatus (*run)(LiteRtCompiledModelT*, std::size_t, std::size_t, LiteRtTensorBufferT**,
                      std::size_t, LiteRtTensorBufferT**);
};

namespace {

constexpr const char* kSymbolVersion = "VERS_1.0";
// The version that litert_api.h was checked against, any patch release.
constexpr const char* kVersion = "2.3.";

constexpr const char* kUnknown = "unknown";

// Looks up functions and remembers the first that is missing.
class Symbols {
 public:
  explicit Symbols(void* library) : library_(library) {}

  std::string missing;

  template <typename Function>
  void find(const char* name, Function*& function) {
    // By symbol version: an incompatible later C API would have another one.
    void* symbol = dlvsym(library_, name, kSymbolVersion);
    if (symbol == nullptr && missing.empty()) missing = name;
    function = reinterpret_cast<Function*>(symbol);
  }

 private:
  void* library_;
};

std::string find_functions(void* library, LiteRtFunctions& api) {
  Symbols symbols(library);
  symbols.find("LiteRtCreateEnvironment", api.create_environment);
  symbols.find("LiteRtDestroyEnvironment", api.destroy_environment);
  symbols.find("LiteRtGetNumAccelerators", api.num_accelerators);
  symbols.find("LiteRtGetAccelerator", api.accelerator);
  symbols.find("LiteRtGetAcceleratorName", api.accelerator_name);
  symbols.find("LiteRtCreateModelFromBuffer", api.model_from_buffer);
  symbols.find("LiteRtDestroyModel", api.destroy_model);
  symbols.find("LiteRtGetNumModelSignatures", api.num_signatures);
  symbols.find("LiteRtGetModelSignature", api.signature);
  symbols.find("LiteRtGetNumSignatureInputs", api.num_inputs);
  symbols.find("LiteRtGetNumSignatureOutputs", api.num_outputs);
  symbols.find("LiteRtGetSignatureInputTensorByIndex", api.input_tensor);
  symbols.find("LiteRtGetSignatureOutputTensorByIndex", api.output_tensor);
  symbols.find("LiteRtGetRankedTensorType", api.tensor_type);
  symbols.find("LiteRtCreateOptions", api.create_options);
  symbols.find("LiteRtDestroyOptions", api.destroy_options);
  symbols.find("LiteRtSetOptionsHardwareAccelerators", api.set_accelerators);
  symbols.find("LiteRtCreateOpaqueOptions", api.create_opaque);
  symbols.find("LiteRtAddOpaqueOptions", api.add_opaque);
  symbols.find("LiteRtCreateCompiledModel", api.compile);
  symbols.find("LiteRtDestroyCompiledModel", api.destroy_compiled);
  symbols.find("LiteRtCompiledModelIsFullyAccelerated", api.fully_accelerated);
  symbols.find("LiteRtGetCompiledModelInputBufferRequirements", api.input_needs);
  symbols.find("LiteRtGetCompiledModelOutputBufferRequirements", api.output_needs);
  symbols.find("LiteRtCreateManagedTensorBufferFromRequirements", api.create_buffer);
  symbols.find("LiteRtDestroyTensorBuffer", api.destroy_buffer);
  symbols.find("LiteRtGetTensorBufferPackedSize", api.packed_size);
  symbols.find("LiteRtLockTensorBuffer", api.lock);
  symbols.find("LiteRtUnlockTensorBuffer", api.unlock);
  symbols.find("LiteRtRunCompiledModel", api.run);
  return symbols.missing;
}

LiteRtEnvOption number_option(int tag, std::int64_t value) {
  LiteRtEnvOption option{};
  option.tag = tag;
  option.value.type = kLiteRtAnyTypeInt;
  option.value.int_value = value;
  return option;
}

LiteRtEnvOption text_option(int tag, const char* value) {
  LiteRtEnvOption option{};
  option.tag = tag;
  option.value.type = kLiteRtAnyTypeString;
  option.value.str_value = value;
  return option;
}

}  // namespace

const char* name_of(Accelerator accelerator) {
  return accelerator == Accelerator::kGpu ? "GPU" : "CPU";
}

Result<std::shared_ptr<const LiteRt>> LiteRt::open(const std::string& path, bool with_gpu) {
  namespace fs = std::filesystem;
  const char* variable = std::getenv("KSEG_LITERT");
  const std::string requested = !path.empty() ? path : variable != nullptr ? variable : "";
  std::error_code ignored;
  const std::string file = requested.empty()                      ? "libLiteRt.so"
                           : fs::is_directory(requested, ignored) ? requested + "/libLiteRt.so"
                                                              : requested;
  std::shared_ptr<LiteRt> litert(new LiteRt());
  litert->library_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (litert->library_ == nullptr) {
    return Error{"LiteRT: " + std::string(dlerror()) +
                 "; unpack libLiteRt.so from an ai-edge-litert wheel and pass its folder with "
                 "--litert or KSEG_LITERT"};
  }
  litert->api_ = std::make_unique<LiteRtFunctions>();
  const std::string missing = find_functions(litert->library_, *litert->api_);
  if (!missing.empty()) {
    return Error{file + ": has no " + missing + " with version " + kSymbolVersion +
                 "; use libLiteRt.so from ai-edge-litert 2.3"};
  }
  Dl_info where{};
  dladdr(reinterpret_cast<void*>(litert->api_->create_environment), &where);
  litert->path_ = where.dli_fname != nullptr ? where.dli_fname : file;
  litert->folder_ = fs::absolute(litert->path_, ignored).parent_path().string();
  // Another version may have the same functions but other structs, which nothing else detects.
  const std::string version = litert->version();
  if (version != kUnknown && version.rfind(kVersion, 0) != 0) {
    return Error{litert->path_ + ": LiteRT " + version +
                 ", whose C API has not been checked; use libLiteRt.so from ai-edge-litert 2.3"};
  }
  const LiteRtEnvOption options[] = {
      text_option(kLiteRtEnvOptionTagRuntimeLibraryDir, litert->folder_.c_str()),
      number_option(kLiteRtEnvOptionTagAutoRegisterAccelerators,
                    kLiteRtHwAcceleratorCpu | (with_gpu ? kLiteRtHwAcceleratorGpu : 0)),
      number_option(kLiteRtEnvOptionTagMinLoggerSeverity, kLiteRtLogSeverityError),
  };
  const LiteRtStatus status =
      litert->api_->create_environment(3, options, &litert->environment_);
  if (status != kLiteRtStatusOk) {
    return Error{litert->path_ + ": LiteRT cannot be initialized (status " +
                 std::to_string(status) + ")"};
  }
  return std::shared_ptr<const LiteRt>(std::move(litert));
}

LiteRt::~LiteRt() {
  if (environment_ != nullptr) api_->destroy_environment(environment_);
  // No dlclose: LiteRT and GPU drivers leave threads and exit handlers behind.
}

std::string LiteRt::version() const {
  namespace fs = std::filesystem;
  constexpr const char* kStart = "ai_edge_litert-";
  constexpr const char* kEnd = ".dist-info";
  std::error_code error;
  for (fs::directory_iterator it(fs::path(folder_).parent_path(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::size_t tail = name.find(kEnd);
    if (name.rfind(kStart, 0) == 0 && tail != std::string::npos) {
      return name.substr(std::strlen(kStart), tail - std::strlen(kStart));
    }
  }
  return kUnknown;
}

std::vector<std::string> LiteRt::accelerators() const {
  std::vector<std::string> names;
  std::size_t count = 0;
  if (api_->num_accelerators(environment_, &count) != kLiteRtStatusOk) return names;
  for (std::size_t i = 0; i < count; ++i) {
    LiteRtAcceleratorT* accelerator = nullptr;
    const char* name = nullptr;
    if (api_->accelerator(environment_, i, &accelerator) == kLiteRtStatusOk &&
        api_->accelerator_name(accelerator, &name) == kLiteRtStatusOk && name != nullptr) {
      names.emplace_back(name);
    }
  }
  return names;
}

// The LiteRT objects of one graph, destroyed in reverse order.
class LiteRtGraph final : public Graph {
 public:
  std::shared_ptr<const LiteRt> litert;
  Bytes tflite;  // LiteRT reads weights from here as long as the model exists.
  LiteRtModelT* model = nullptr;
  LiteRtOptionsT* options = nullptr;
  LiteRtCompiledModelT* compiled = nullptr;
  LiteRtTensorBufferT* input_buffer = nullptr;
  LiteRtTensorBufferT* output_buffer = nullptr;

  ~LiteRtGraph() override {
    if (input_buffer != nullptr) api().destroy_buffer(input_buffer);
    if (output_buffer != nullptr) api().destroy_buffer(output_buffer);
    if (compiled != nullptr) api().destroy_compiled(compiled);
    if (options != nullptr) api().destroy_options(options);
    if (model != nullptr) api().destroy_model(model);
  }

  const LiteRtFunctions& api() const { return *litert->api_; }
  Status compile(Accelerator accelerator, int threads, const std::string& where);
  Status run(const void* input, void* output) override;

 private:
  Result<LiteRtRankedTensorType> describe(bool is_input, const std::string& where);
  LiteRtStatus build(Accelerator accelerator, int threads);
  Status make_buffer(bool is_input, const LiteRtRankedTensorType& type, const std::string& where);
};

Result<LiteRtRankedTensorType> LiteRtGraph::describe(bool is_input, const std::string& where) {
  Tensor& tensor = is_input ? input_ : output_;
  const Error refused{where + ": its graph was not written by kseg.export; " + kReexport};
  std::size_t count = 0;
  LiteRtSignatureT* signature = nullptr;
  if (api().num_signatures(model, &count) != kLiteRtStatusOk || count != 1 ||
      api().signature(model, 0, &signature) != kLiteRtStatusOk) {
    return refused;
  }
  LiteRtTensorT* handle = nullptr;
  const auto count_of = is_input ? api().num_inputs : api().num_outputs;
  const auto tensor_of = is_input ? api().input_tensor : api().output_tensor;
  LiteRtRankedTensorType type{};
  if (count_of(signature, &count) != kLiteRtStatusOk || count != 1 ||
      tensor_of(signature, 0, &handle) != kLiteRtStatusOk ||
      api().tensor_type(handle, &type) != kLiteRtStatusOk || type.layout.rank > 4) {
    return refused;
  }
  switch (type.element_type) {
    case kLiteRtElementTypeUInt8:
      tensor.type = DataType::kUint8;
      break;
    case kLiteRtElementTypeInt32:
      tensor.type = DataType::kInt32;
      break;
    case kLiteRtElementTypeFloat32:
      tensor.type = DataType::kFloat32;
      break;
    default:
      return refused;
  }
  for (unsigned i = 0; i < type.layout.rank; ++i) {
    const std::int32_t side = type.layout.dimensions[i];
    if (side < 1 || side > kMaxSide) return refused;
    tensor.shape.push_back(side);
  }
  return type;
}

LiteRtStatus LiteRtGraph::build(Accelerator accelerator, int threads) {
  LiteRtStatus status = api().create_options(&options);
  if (status != kLiteRtStatusOk) return status;
  const bool gpu = accelerator == Accelerator::kGpu;
  status = api().set_accelerators(options, gpu ? kLiteRtHwAcceleratorGpu : kLiteRtHwAcceleratorCpu);
  if (status == kLiteRtStatusOk && !gpu && threads > 0) {
    // The same as LiteRT's LrtSetCpuOptionsNumThread: TOML under the name "xnnpack".
    LiteRtOpaqueOptionsT* cpu = nullptr;
    char* toml = strdup(("num_threads = " + std::to_string(threads) + "\n").c_str());
    status = api().create_opaque("xnnpack", toml, std::free, &cpu);
    if (status == kLiteRtStatusOk) status = api().add_opaque(options, cpu);
  }
  if (status != kLiteRtStatusOk) return status;
  return api().compile(litert->environment_, model, options, &compiled);
}

Status LiteRtGraph::make_buffer(bool is_input, const LiteRtRankedTensorType& type,
                                const std::string& where) {
  LiteRtTensorBufferRequirementsT* needs = nullptr;
  LiteRtTensorBufferT*& buffer = is_input ? input_buffer : output_buffer;
  const auto needs_of = is_input ? api().input_needs : api().output_needs;
  std::size_t size = 0;
  const bool created =
      needs_of(compiled, 0, 0, &needs) == kLiteRtStatusOk &&
      api().create_buffer(litert->environment_, &type, needs, &buffer) == kLiteRtStatusOk &&
      api().packed_size(buffer, &size) == kLiteRtStatusOk;
  if (!created) return Error{where + ": LiteRT cannot allocate its tensors"};
  if (size != (is_input ? input_ : output_).bytes()) {
    return Error{where + ": LiteRT uses an unknown tensor layout"};
  }
  return Done{};
}

Status LiteRtGraph::compile(Accelerator accelerator, int threads, const std::string& where) {
  device_ = name_of(accelerator);
  const LiteRtStatus loaded =
      api().model_from_buffer(litert->environment_, tflite.data(), tflite.size(), &model);
  if (loaded != kLiteRtStatusOk) {
    return Error{where + ": corrupt .tflite file (LiteRT status " + std::to_string(loaded) + "); " +
                 kReexport};
  }
  const auto input_type = describe(true, where);
  if (!input_type) return input_type.error();
  const auto output_type = describe(false, where);
  if (!output_type) return output_type.error();
  const LiteRtStatus status = build(accelerator, threads);
  bool fully_accelerated = false;
  if (status != kLiteRtStatusOk ||
      api().fully_accelerated(compiled, &fully_accelerated) != kLiteRtStatusOk ||
      (accelerator == Accelerator::kGpu && !fully_accelerated)) {
    return Error{where + ": LiteRT cannot run it on the " + name_of(accelerator) + " (status " +
                 std::to_string(status) + ")"};
  }
  for (const bool is_input : {true, false}) {
    const Status created = make_buffer(is_input, is_input ? *input_type : *output_type, where);
    if (!created) return created.error();
  }
  return Done{};
}

Result<std::unique_ptr<Graph>> compile_tflite(std::shared_ptr<const LiteRt> litert, Bytes tflite,
                                              Accelerator accelerator, int threads,
                                              const std::string& where) {
  auto graph = std::make_unique<LiteRtGraph>();
  graph->litert = std::move(litert);
  graph->tflite = std::move(tflite);
  const Status compiled = graph->compile(accelerator, threads, where);
  if (!compiled) return compiled.error();
  return std::unique_ptr<Graph>(std::move(graph));
}

Status LiteRtGraph::run(const void* input, void* output) {
  const auto failed = [](const char* what, LiteRtStatus status) {
    return Error{std::string("LiteRT ") + what + " failed (status " + std::to_string(status) + ")"};
  };
  void* memory = nullptr;
  LiteRtStatus status = api().lock(input_buffer, &memory, kLiteRtTensorBufferLockModeWrite);
  if (status != kLiteRtStatusOk) return failed("input", status);
  std::memcpy(memory, input, input_.bytes());
  status = api().unlock(input_buffer);
  if (status != kLiteRtStatusOk) return failed("input", status);
  status = api().run(compiled, 0, 1, &input_buffer, 1, &output_buffer);
  if (status != kLiteRtStatusOk) return failed("inference", status);
  status = api().lock(output_buffer, &memory, kLiteRtTensorBufferLockModeRead);
  if (status != kLiteRtStatusOk) return failed("output", status);
  std::memcpy(output, memory, output_.bytes());
  status = api().unlock(output_buffer);
  if (status != kLiteRtStatusOk) return failed("output", status);
  return Done{};
}

}  // namespace kseg
