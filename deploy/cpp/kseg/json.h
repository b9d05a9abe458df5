// A strict parser of small JSON documents (RFC 8259) from untrusted sources. Written by hand so
// that libkseg needs nothing but LiteRT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kseg/result.h"

namespace kseg::json {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxItems = 4096;  // Of one array or object.

struct Value {
  enum class Kind { kNull, kBool, kInteger, kReal, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::int64_t integer = 0;  // kInteger: a number without fraction or exponent.
  double real = 0;           // Set for kReal and kInteger.
  std::string string;        // UTF-8
  std::vector<Value> items;  // Items of a kArray; values of a kObject, in the order of `keys`.
  std::vector<std::string> keys;

  // The value of a key; nullptr when this is not an object or has no such key.
  const Value* find(std::string_view key) const;
};

// Returns the document's value. Refuses documents over these limits, duplicate keys, text that is
// not UTF-8, NaN and Infinity, and anything after the value.
Result<Value> parse(std::string_view text);

// Bytes of the UTF-8 character at the start of `text`, which is not empty; 0 when it is not UTF-8.
std::size_t utf8_length(std::string_view text);

}  // namespace kseg::json
