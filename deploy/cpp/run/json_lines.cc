#include "run/json_lines.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kseg/json.h"

namespace kseg {
namespace {

// Adds ".0" to an integer, as Python prints a float.
std::string with_point(std::string digits) {
  return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
}

std::string rounded(double value, int places) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", places, value);
  std::string digits = text;
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return with_point(digits);
}

// The fewest digits that parse to the same number.
std::string shortest(double value) {
  char text[64];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return with_point(text);
}

// Bytes that are not UTF-8 become lone surrogates, as in Python's file names.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = json::utf8_length(std::string_view(text).substr(at));
    const auto byte = static_cast<unsigned char>(text[at]);
    char escape[8];
    if (length == 0 || byte < 0x20) {
      std::snprintf(escape, sizeof escape, length == 0 ? "\\udc%02x" : "\\u00%02x", byte);
      out += escape;
    } else {
      if (byte == '"' || byte == '\\') out += '\\';
      out.append(text, at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return out + '"';
}

std::string row_json(const LaneRow& row) {
  const auto& offset = row.centre_offset_px;
  return "{\"row\": " + shortest(row.row) + ", \"row_px\": " + std::to_string(row.row_px) +
         ", \"centre_offset_px\": " + (offset ? shortest(*offset) : "null") +
         ", \"width_px\": " + std::to_string(row.width_px) +
         ", \"free_px\": " + (row.free_px ? std::to_string(*row.free_px) : "null") + "}";
}

std::string gpu_check_json(const std::optional<GpuCheckLine>& check) {
  if (!check) return "null";
  return "{\"frames\": " + std::to_string(check->frames) +
         ", \"agreement\": " + rounded(check->agreement, 6) +
         ", \"age_s\": " + rounded(check->age_s, 1) + "}";
}

}  // namespace

std::string to_json(const FrameLine& line) {
  const auto& share = line.measurements.drivable_share;
  std::string rows;
  for (const LaneRow& row : line.measurements.rows) {
    rows += (rows.empty() ? "" : ", ") + row_json(row);
  }
  return "{\"frame\": " + std::to_string(line.frame) + ", \"name\": " + quoted(line.name) +
         ", \"time_s\": " + (line.time_s ? rounded(*line.time_s, 4) : "null") +
         ", \"latency_ms\": " + rounded(line.latency_ms, 3) +
         ", \"age_ms\": " + rounded(line.age_ms, 3) +
         ", \"dropped\": " + std::to_string(line.dropped) +
         ", \"gpu_check\": " + gpu_check_json(line.gpu_check) +
         ", \"device\": " + quoted(line.device) +
         ", \"drivable_share\": " + (share ? rounded(*share, 6) : "null") +
         ", \"rows\": [" + rows + "]}";
}

Result<JsonLines> JsonLines::open(const std::string& path) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (file == nullptr) return Error{"--json " + path + ": " + std::strerror(errno)};
  return JsonLines(path, file);
}

Status JsonLines::put(const FrameLine& line) {
  const std::string text = to_json(line) + "\n";
  if (std::fputs(text.c_str(), file_.get()) >= 0 && std::fflush(file_.get()) == 0) return Done{};
  return Error{"--json " + path_ + ": " + std::strerror(errno)};
}

}  // namespace kseg
