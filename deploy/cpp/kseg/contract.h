// The contract: the JSON document inside a .tflite that describes the model (deploy/README.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kseg/result.h"

namespace kseg {

constexpr int kContractVersion = 1;
constexpr int kMaxSide = 8192;           // Of a model's input or output, in pixels.
constexpr std::uint8_t kUnseenId = 255;  // Id of pixels that `crop` cut away.

enum class Fit { kLetterbox, kStretch, kCrop };
enum class DataType { kUint8, kInt32, kFloat32 };
enum class OutputKind { kClassMap, kLogits };

struct Size {
  int height = 0, width = 0;

  bool operator==(const Size& other) const {
    return height == other.height && width == other.width;
  }
  bool operator!=(const Size& other) const { return !(*this == other); }
};

struct ClassLabel {
  int id = 0;
  std::string name;
  std::array<std::uint8_t, 3> color{};  // RGB
  bool drivable = false;
};

struct Contract {
  std::string model, precision, profile, dataset, config_hash, kseg_version;  // Not interpreted.
  Size input_size;
  DataType input_dtype = DataType::kUint8;  // kUint8 or kFloat32, raw RGB 0..255 in either.
  Fit fit = Fit::kLetterbox;
  std::uint8_t pad_value = 0;
  OutputKind output_kind = OutputKind::kClassMap;
  DataType output_dtype = DataType::kUint8;  // kClassMap: kUint8, kInt32; kLogits: kFloat32.
  std::vector<ClassLabel> classes;           // 1 to 255, with unique ids.
};

const char* name_of(DataType type);

// Parses and checks a contract's JSON text. Errors start with `where`.
Result<Contract> parse_contract(std::string_view text, const std::string& where);

}  // namespace kseg
