// The subset of ONNX Runtime's C API that kseg calls, with the names of microsoft/onnxruntime,
// onnxruntime_c_api.h (MIT). Its wheels do not contain that header. OrtApi is a table of function
// pointers to which versions only append, so that a position is good for all later ones; these are
// from version 23 of the API (offsetof in the header) and are all in version 11.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// Opaque handles.
struct OrtEnv;
struct OrtStatus;  // Null: success.
struct OrtSession;
struct OrtSessionOptions;
struct OrtMemoryInfo;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtTensorRTProviderOptionsV2;
struct OrtCUDAProviderOptionsV2;

struct OrtApiBase {
  const void* const* (*GetApi)(std::uint32_t version);  // Null: the library is older.
  const char* (*GetVersionString)();
};

}  // extern "C"

namespace kseg {

constexpr std::uint32_t kOrtApiVersion = 11;

constexpr int kOrtLoggingLevelError = 3;
constexpr int kOrtDeviceAllocator = 0;
constexpr int kOrtMemTypeDefault = 0;
constexpr int kOrtFloat = 1, kOrtUint8 = 2, kOrtInt32 = 6;  // ONNXTensorElementDataType

// Positions in OrtApi.
enum OrtFunction : std::size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSessionFromArray = 8,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetSessionLogSeverityLevel = 22,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kSessionGetInputCount = 30,
  kSessionGetOutputCount = 31,
  kSessionGetInputTypeInfo = 33,
  kSessionGetOutputTypeInfo = 34,
  kCreateTensorWithDataAsOrtValue = 49,
  kCastTypeInfoToTensorInfo = 55,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kCreateCpuMemoryInfo = 69,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTypeInfo = 98,
  kReleaseSessionOptions = 100,
  kGetAvailableProviders = 125,
  kReleaseAvailableProviders = 126,
  kAddSessionConfigEntry = 130,
  kAppendExecutionProviderTensorRtV2 = 170,
  kCreateTensorRtProviderOptions = 171,
  kUpdateTensorRtProviderOptions = 172,
  kReleaseTensorRtProviderOptions = 174,
  kAppendExecutionProviderCudaV2 = 204,
  kCreateCudaProviderOptions = 205,
  kReleaseCudaProviderOptions = 208,
};

}  // namespace kseg
