#include "kseg/tflite_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "kseg/onnx_file.h"

namespace kseg {
namespace {

constexpr std::string_view kContractName = "kseg_contract";
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 31;

// Field numbers of TFLite's schema.fbs (version 3).
constexpr std::size_t kModelBuffers = 4, kModelMetadata = 6;
constexpr std::size_t kMetadataName = 0, kMetadataBuffer = 1;
constexpr std::size_t kBufferData = 0;

// Reads FlatBuffers (https://flatbuffers.dev/internals) with bounds checks. Positions count from
// the file's start. They may lie outside the file: `read` and `vector` then return nothing.
class FlatBuffer {
 public:
  using Position = std::optional<std::size_t>;
  struct Vector {
    std::size_t start, length;
  };

  explicit FlatBuffer(const Bytes& bytes) : bytes_(bytes) {}

  Position root() const { return follow(0); }

  // Position of a table's field; nothing when the field is absent (`absent`) or the table corrupt.
  Position field(std::size_t table, std::size_t number, bool& absent) const {
    absent = false;
    const auto back = read<std::int32_t>(table);
    if (!back) return {};
    const auto start = static_cast<std::size_t>(static_cast<std::int64_t>(table) - *back);
    const auto size = read<std::uint16_t>(start);
    if (!size) return {};
    const std::size_t entry = 4 + 2 * number;
    const auto offset = entry + 2 <= *size ? read<std::uint16_t>(start + entry)
                                           : std::optional<std::uint16_t>(std::uint16_t{0});
    if (!offset) return {};
    absent = *offset == 0;
    if (absent) return {};
    return table + *offset;
  }

  // Position that the offset stored at `position` points to.
  Position follow(Position position) const {
    if (!position) return {};
    const auto offset = read<std::uint32_t>(*position);
    if (!offset) return {};
    return *position + *offset;
  }

  std::optional<Vector> vector(Position position, std::size_t item_bytes) const {
    position = follow(position);
    if (!position) return {};
    const auto length = read<std::uint32_t>(*position);
    if (!length || *length > (bytes_.size() - *position - 4) / item_bytes) return {};
    return Vector{*position + 4, *length};
  }

  std::string_view text(Vector vector) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + vector.start, vector.length};
  }

  template <typename T>
  std::optional<T> read(std::size_t position) const {
    if (position > bytes_.size() || bytes_.size() - position < sizeof(T)) return {};
    T value;  // FlatBuffers are little-endian, like every machine that LiteRT runs on.
    std::memcpy(&value, bytes_.data() + position, sizeof(T));
    return value;
  }

 private:
  const Bytes& bytes_;
};

// The first `count` bytes as Python prints them.
std::string repr(const Bytes& bytes, std::size_t count) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "b'";
  for (std::size_t i = 0; i < std::min(count, bytes.size()); ++i) {
    const std::uint8_t byte = bytes[i];
    if (byte == '\n' || byte == '\r' || byte == '\t') {
      out += byte == '\n' ? "\\n" : byte == '\r' ? "\\r" : "\\t";
    } else if (byte == '\\' || byte == '\'') {
      out += {'\\', static_cast<char>(byte)};
    } else if (byte >= 0x20 && byte < 0x7F) {
      out += static_cast<char>(byte);
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + "'";
}

}  // namespace

Result<Bytes> read_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  Bytes bytes;
  if (size >= 0 && static_cast<std::uint64_t>(size) < kMaxFileBytes) {
    bytes.resize(static_cast<std::size_t>(size));
    file.seekg(0);
    if (file.read(reinterpret_cast<char*>(bytes.data()), size)) return bytes;
  }
  const char* reason = errno != 0 ? std::strerror(errno) : "not a file of less than 2 GiB";
  return Error{path + ": cannot be read (" + reason + ")"};
}

Result<std::string_view> contract_text(const Bytes& tflite, const std::string& path) {
  if (tflite.size() < 8 || std::memcmp(tflite.data() + 4, "TFL3", 4) != 0) {
    return Error{path + ": not a .tflite file (its first bytes are " + repr(tflite, 8) + ")"};
  }
  const FlatBuffer file(tflite);
  const auto corrupt = [&path](const char* offset) {
    return Error{path + ": corrupt .tflite file (" + offset + " points outside); " + kReexport};
  };
  const auto model = file.root();
  if (!model) return corrupt("its root");
  bool absent = false;
  const auto metadata = file.field(*model, kModelMetadata, absent);
  const Error no_contract{path + ": no kseg contract inside; " + kReexport};
  if (absent) return no_contract;
  const auto entries = file.vector(metadata, 4);
  if (!entries) return corrupt("its metadata");
  for (std::size_t i = 0; i < entries->length; ++i) {
    const auto entry = file.follow(entries->start + 4 * i);
    if (!entry) return corrupt("a metadata entry");
    const auto name_field = file.field(*entry, kMetadataName, absent);
    if (absent) continue;
    const auto name = file.vector(name_field, 1);
    if (!name) return corrupt("a metadata name");
    if (file.text(*name) != kContractName) continue;
    const auto index_field = file.field(*entry, kMetadataBuffer, absent);
    const auto index =
        absent ? std::uint32_t{0} : index_field ? file.read<std::uint32_t>(*index_field)
                                                : std::optional<std::uint32_t>();
    const auto buffers = file.vector(file.field(*model, kModelBuffers, absent), 4);
    if (!index || !buffers || *index >= buffers->length) return corrupt("its contract");
    const auto buffer = file.follow(buffers->start + 4 * std::size_t{*index});
    if (!buffer) return corrupt("its contract");
    const auto data = file.vector(file.field(*buffer, kBufferData, absent), 1);
    if (!data) return corrupt("its contract");
    return file.text(*data);
  }
  return no_contract;
}

std::string reexport(const std::string& path) {
  const std::string suffix = ".onnx";
  const bool onnx = path.size() >= suffix.size() &&
                    path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0;
  return onnx ? "re-export it with `python -m kseg.export --onnx`" : kReexport;
}

Status verify_checksum(const Bytes& file, const std::string& path) {
  constexpr std::size_t kTrailer = 8;  // "KCRC" and the CRC-32.
  if (file.size() < kTrailer ||
      std::memcmp(file.data() + file.size() - kTrailer, "KCRC", 4) != 0) {
    return Error{path + ": truncated, or without kseg.export's checksum; " + reexport(path)};
  }
  const std::size_t size = file.size() - kTrailer;
  const auto expected = FlatBuffer(file).read<std::uint32_t>(size + 4);
  if (expected != crc32(file.data(), size)) {
    return Error{path + ": corrupt " + (is_onnx(file) ? ".onnx" : ".tflite") +
                 " file (checksum mismatch); copy it again or " + reexport(path)};
  }
  return Done{};
}

std::uint32_t crc32(const std::uint8_t* data, std::size_t size) {
  static const auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320U : 0U);
      table[i] = value;
    }
    return table;
  }();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (std::size_t i = 0; i < size; ++i) crc = crc >> 8 ^ kTable[(crc ^ data[i]) & 0xFF];
  return crc ^ 0xFFFFFFFFU;
}

}  // namespace kseg
