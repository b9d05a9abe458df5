#include "kseg/json.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

namespace kseg::json {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::uint32_t code, std::string& out) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Value> document() {
    Value value;
    if (!parse_value(value, 0)) return failure();
    skip_space();
    if (at_ != text_.size()) {
      fail("text after the document");
      return failure();
    }
    return value;
  }

 private:
  Error failure() const { return Error{problem_ + " at byte " + std::to_string(at_)}; }

  bool fail(const char* problem) {
    problem_ = problem;
    return false;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
  }

  bool take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  bool parse_value(Value& out, int depth) {
    if (depth > kMaxDepth) return fail("nested too deeply");
    skip_space();
    switch (peek()) {
      case '{':
        return parse_object(out, depth);
      case '[':
        return parse_array(out, depth);
      case '"':
        out.kind = Value::Kind::kString;
        return parse_string(out.string);
      default:
        return parse_literal(out);
    }
  }

  bool parse_literal(Value& out) {
    if (take("true") || take("false")) {
      out.kind = Value::Kind::kBool;
      out.boolean = text_[at_ - 2] == 'u';
      return true;
    }
    if (take("null")) return true;
    if (peek() == '-' || is_digit(peek())) return parse_number(out);
    return fail("expected a value");
  }

  bool parse_object(Value& out, int depth) {
    out.kind = Value::Kind::kObject;
    take("{");
    skip_space();
    if (take("}")) return true;
    do {
      skip_space();
      std::string key;
      if (peek() != '"') return fail("expected a key");
      if (!parse_string(key)) return false;
      if (out.find(key) != nullptr) return fail("duplicate key");
      skip_space();
      if (!take(":")) return fail("expected ':'");
      out.keys.push_back(std::move(key));
      if (!parse_item(out, depth)) return false;
      skip_space();
    } while (take(","));
    return take("}") || fail("expected ',' or '}'");
  }

  bool parse_item(Value& out, int depth) {
    if (out.items.size() == kMaxItems) return fail("too many items");
    return parse_value(out.items.emplace_back(), depth + 1);
  }

  bool parse_array(Value& out, int depth) {
    out.kind = Value::Kind::kArray;
    take("[");
    skip_space();
    if (take("]")) return true;
    do {
      if (!parse_item(out, depth)) return false;
      skip_space();
    } while (take(","));
    return take("]") || fail("expected ',' or ']'");
  }

  bool parse_string(std::string& out) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return fail("control character in a string");
      if (c == '\\') {
        if (!parse_escape(out)) return false;
        continue;
      }
      const std::size_t length = utf8_length(text_.substr(at_));
      if (length == 0) return fail("not UTF-8");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
    return fail("unterminated string");
  }

  bool parse_escape(std::string& out) {
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kCharacters = "\"\\/\b\f\n\r\t";
    ++at_;
    const std::size_t index = kNames.find(peek());
    if (at_ < text_.size() && index != std::string_view::npos) {
      out.push_back(kCharacters[index]);
      ++at_;
      return true;
    }
    std::uint32_t code = 0;
    if (!take("u") || !parse_hex4(code)) return fail("invalid escape");
    if (code >= 0xD800 && code < 0xE000) {  // Half of a surrogate pair (beyond U+FFFF).
      std::uint32_t low = 0;
      if (code >= 0xDC00 || !take("\\u") || !parse_hex4(low) || low < 0xDC00 || low >= 0xE000) {
        return fail("lone surrogate");
      }
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(code, out);
    return true;
  }

  bool parse_hex4(std::uint32_t& out) {
    if (text_.size() - at_ < 4) return false;
    out = 0;
    for (const char c : text_.substr(at_, 4)) {
      const int digit = is_digit(c)              ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      out = out << 4 | static_cast<std::uint32_t>(digit);
    }
    at_ += 4;
    return true;
  }

  bool take_digits() {
    const std::size_t start = at_;
    while (is_digit(peek())) ++at_;
    return at_ > start;
  }

  bool parse_number(Value& out) {
    const std::size_t start = at_;
    take("-");
    const bool leading_zero = peek() == '0';
    const std::size_t first = at_;
    if (!take_digits() || (leading_zero && at_ - first > 1)) return fail("invalid number");
    bool is_integer = true;
    if (take(".")) {
      is_integer = false;
      if (!take_digits()) return fail("invalid number");
    }
    if (peek() == 'e' || peek() == 'E') {
      is_integer = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!take_digits()) return fail("invalid number");
    }
    // Not strtod, which depends on the locale, nor from_chars, which GCC 9 lacks.
    std::istringstream stream{std::string(text_.substr(start, at_ - start))};
    stream.imbue(std::locale::classic());
    if (!(stream >> out.real) || !std::isfinite(out.real)) return fail("number out of range");
    constexpr double kExact = 9007199254740992.0;  // 2^53: a double is exact up to here.
    is_integer = is_integer && std::abs(out.real) <= kExact;
    out.kind = is_integer ? Value::Kind::kInteger : Value::Kind::kReal;
    if (is_integer) out.integer = static_cast<std::int64_t>(out.real);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string problem_;
};

}  // namespace

std::size_t utf8_length(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool surrogate = first == 0xED && byte(1) > 0x9F;
  const bool beyond = first == 0xF4 && byte(1) > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

const Value* Value::find(std::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

Result<Value> parse(std::string_view text) {
  if (text.size() > kMaxBytes) return Error{"longer than a contract can be"};
  return Parser(text).document();
}

}  // namespace kseg::json
