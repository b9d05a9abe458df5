// What kseg must read of a .tflite itself: that it is whole, and the contract inside.
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

// Reads a file of at most 2 GiB, the most a .tflite can have.
Result<Bytes> read_file(const std::string& path);

// Returns the contract's JSON text, a view into `tflite`. Every offset is checked before it is
// followed, so any bytes at all may be handed over. Errors name `path`.
Result<std::string_view> contract_text(const Bytes& tflite, const std::string& path);

// Fails unless the last 8 bytes are "KCRC" and the CRC-32 of all bytes before them. LiteRT checks a
// file's structure but not its numbers: it runs damaged weights, and can crash on damaged indices.
Status check_whole(const Bytes& tflite, const std::string& path);

// CRC-32 as in zlib, PNG and Ethernet.
std::uint32_t crc32(const std::uint8_t* data, std::size_t size);

}  // namespace kseg
