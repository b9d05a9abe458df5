// The subset of LiteRT's C API that kseg calls, with the names of google-ai-edge/LiteRT,
// litert/c/*.h (Apache-2.0). The wheels do not contain those headers. Checked against
// ai-edge-litert 2.3.0: enum values and struct layouts here, signatures in litert.cc. All symbols
// have version VERS_1.0.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// Opaque handles; LiteRT owns the objects.
struct LiteRtEnvironmentT;
struct LiteRtModelT;
struct LiteRtOptionsT;
struct LiteRtOpaqueOptionsT;
struct LiteRtCompiledModelT;
struct LiteRtSignatureT;
struct LiteRtTensorT;
struct LiteRtTensorBufferT;
struct LiteRtTensorBufferRequirementsT;
struct LiteRtAcceleratorT;

using LiteRtStatus = int;  // 0: success.
constexpr LiteRtStatus kLiteRtStatusOk = 0;

constexpr int kLiteRtHwAcceleratorCpu = 1;
constexpr int kLiteRtHwAcceleratorGpu = 2;

constexpr int kLiteRtTensorBufferLockModeRead = 0;
constexpr int kLiteRtTensorBufferLockModeWrite = 1;

constexpr int kLiteRtElementTypeFloat32 = 1;
constexpr int kLiteRtElementTypeInt32 = 2;
constexpr int kLiteRtElementTypeUInt8 = 3;

constexpr int kLiteRtAnyTypeInt = 2;
constexpr int kLiteRtAnyTypeString = 8;

constexpr int kLiteRtEnvOptionTagRuntimeLibraryDir = 22;
constexpr int kLiteRtEnvOptionTagAutoRegisterAccelerators = 24;
constexpr int kLiteRtEnvOptionTagMinLoggerSeverity = 25;
constexpr int kLiteRtLogSeverityError = 3;

struct LiteRtAny {
  int type;
  union {
    bool bool_value;
    std::int64_t int_value;
    double real_value;
    const char* str_value;
    const void* ptr_value;
  };
};

struct LiteRtEnvOption {
  int tag;
  LiteRtAny value;
};

constexpr int kLiteRtMaxRank = 8;

struct LiteRtLayout {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  std::int32_t dimensions[kLiteRtMaxRank];
  std::uint32_t strides[kLiteRtMaxRank];
};

struct LiteRtRankedTensorType {
  int element_type;
  LiteRtLayout layout;
};

}  // extern "C"

static_assert(sizeof(void*) == 8, "LiteRT is built for 64-bit machines");
static_assert(sizeof(LiteRtAny) == 16 && offsetof(LiteRtAny, int_value) == 8);
static_assert(sizeof(LiteRtEnvOption) == 24 && offsetof(LiteRtEnvOption, value) == 8);
static_assert(sizeof(LiteRtLayout) == 68 && offsetof(LiteRtLayout, strides) == 36);
static_assert(sizeof(LiteRtRankedTensorType) == 72);
