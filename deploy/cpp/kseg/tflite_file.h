// Reads a .tflite, verifies its checksum and finds the contract inside. The FlatBuffer reader and
// the CRC are written by hand so that libkseg needs nothing but LiteRT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kseg/result.h"

namespace kseg {

using Bytes = std::vector<std::uint8_t>;

constexpr const char* kReexport = "re-export it with `python -m kseg.export --tflite`";

// What to do about the file `path`: kReexport, for an .onnx with --onnx.
std::string reexport(const std::string& path);

// Reads a file of less than 2 GiB, the limit of a .tflite.
Result<Bytes> read_file(const std::string& path);

// Returns the contract's JSON text, a view into `tflite`. Every offset is checked before it is
// followed, so `tflite` may hold any bytes. Errors start with `path`.
Result<std::string_view> contract_text(const Bytes& tflite, const std::string& path);

// Fails unless the last 8 bytes are "KCRC" and the CRC-32 of all bytes before them. LiteRT verifies
// a file's structure but not its numbers: it runs corrupt weights, and can crash on corrupt
// indices.
Status verify_checksum(const Bytes& file, const std::string& path);

// CRC-32 as in zlib, PNG and Ethernet.
std::uint32_t crc32(const std::uint8_t* data, std::size_t size);

}  // namespace kseg
