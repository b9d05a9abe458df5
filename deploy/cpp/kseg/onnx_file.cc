#include "kseg/onnx_file.h"

#include <cstdint>
#include <cstring>

namespace kseg {
namespace {

constexpr std::string_view kContractName = "kseg_contract";
constexpr std::uint8_t kIrVersionTag = 0x08;    // Field 1, which writers put first.
constexpr std::uint64_t kMetadataProps = 14;    // Messages {1: key, 2: value}.
enum WireType : std::uint64_t { kVarint = 0, kBytes8 = 1, kLength = 2, kBytes4 = 5 };

// Reads the fields of a protobuf message one after another.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  std::uint64_t number = 0, wire_type = 0;  // Of the current field.
  std::string_view value;                   // Its bytes, unless it is a varint.
  std::string problem;

  // Moves on. False at the end, and with a `problem` where the bytes are no message.
  bool next() {
    if (rest_.empty()) return false;
    std::uint64_t tag = 0, size = 0;
    if (!varint(tag)) return false;
    number = tag >> 3;
    wire_type = tag & 7;
    value = {};
    switch (wire_type) {
      case kVarint:
        return varint(size);
      case kLength:
        if (!varint(size)) return false;
        break;
      case kBytes8:
        size = 8;
        break;
      case kBytes4:
        size = 4;
        break;
      default:
        problem = "wire type " + std::to_string(wire_type);
        return false;
    }
    if (size > rest_.size()) return truncated();
    value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  // 7 bits a byte, the lowest first.
  bool varint(std::uint64_t& out) {
    out = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      out |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return true;
    }
    return truncated();
  }

  bool truncated() {
    problem = "truncated";
    return false;
  }

  std::string_view rest_;
};

}  // namespace

bool is_onnx(const Bytes& file) {
  if (file.empty() || file[0] != kIrVersionTag) return false;
  return file.size() < 8 || std::memcmp(file.data() + 4, "TFL3", 4) != 0;
}

Result<std::string_view> onnx_contract_text(const Bytes& onnx, const std::string& path) {
  Message model({reinterpret_cast<const char*>(onnx.data()), onnx.size()});
  const auto corrupt = [&path](const std::string& problem) {
    return Error{path + ": corrupt .onnx file (" + problem + "); " + reexport(path)};
  };
  while (model.next()) {
    if (model.number != kMetadataProps || model.wire_type == kVarint) continue;
    std::string_view key, text;
    Message entry(model.value);
    while (entry.next()) {
      if (entry.wire_type == kVarint) continue;
      if (entry.number == 1) key = entry.value;
      if (entry.number == 2) text = entry.value;
    }
    if (!entry.problem.empty()) return corrupt(entry.problem);
    if (key == kContractName) return text;
  }
  if (!model.problem.empty()) return corrupt(model.problem);
  return Error{path + ": no kseg contract inside; " + reexport(path)};
}

}  // namespace kseg
