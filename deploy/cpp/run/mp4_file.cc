#include "run/mp4_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

namespace kseg {
namespace {

constexpr double kTicks = 10000;  // Per second, for written frame times.
constexpr std::uint64_t kMaxHeader = 1 << 28;  // Bytes; a larger moov box is corrupt.

using Bytes = std::string;  // Content of a box.

struct Box {
  std::string name;
  Bytes content;
};

std::uint64_t number_at(const Bytes& data, std::size_t at, int bytes = 4) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) {
    const std::size_t index = at + static_cast<std::size_t>(i);
    value = value << 8 | (index < data.size() ? static_cast<unsigned char>(data[index]) : 0u);
  }
  return value;
}

Bytes number(double value) {
  const auto whole = static_cast<std::uint32_t>(std::lround(value));
  Bytes out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(whole >> shift & 255);
  return out;
}

// The boxes in a box.
std::vector<Box> boxes(const Bytes& data) {
  std::vector<Box> found;
  for (std::size_t at = 0; at + 8 <= data.size();) {
    const std::size_t length = number_at(data, at);
    if (length < 8) break;
    found.push_back({data.substr(at + 4, 4), data.substr(at + 8, length - 8)});
    at += length;
  }
  return found;
}

Bytes box(const std::string& name, const Bytes& content) {
  return number(static_cast<double>(8 + content.size())) + name + content;
}

// The content of the first box of this path; empty where there is none.
Bytes child(Bytes data, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    Bytes next;
    for (Box& each : boxes(data)) {
      if (each.name != name) continue;
      next = std::move(each.content);
      break;
    }
    data = std::move(next);
  }
  return data;
}

struct Moov {
  std::uint64_t offset = 0;
  Bytes content;  // Empty: there is none.
};

Moov find_moov(std::istream& file, std::uint64_t size) {
  for (std::uint64_t offset = 0; offset + 8 <= size;) {
    Bytes head(16, '\0');
    file.clear();
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(head.data(), 16);
    file.clear();
    std::uint64_t length = number_at(head, 0), start = 8;
    if (length == 1) length = number_at(head, 8, 8), start = 16;
    if (length == 0) length = size - offset;
    const std::string name = head.substr(4, 4);
    const bool is_name = std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
    if (length < start || length > size - offset || !is_name) return {};
    if (name == "moov") {
      if (length > kMaxHeader) return {};
      Moov found{offset, Bytes(static_cast<std::size_t>(length - start), '\0')};
      file.seekg(static_cast<std::streamoff>(offset + start));
      file.read(found.content.data(), static_cast<std::streamsize>(found.content.size()));
      return file ? found : Moov{};
    }
    offset += length;
  }
  return {};
}

// (a, b, c, d) of x' = ax + cy, y' = bx + dy.
using Matrix = std::array<double, 4>;

Matrix matrix(const Bytes& header, std::size_t at) {
  if (header.size() < at + 36) return {1, 0, 0, 1};
  const auto value = [&](std::size_t index) {
    return static_cast<double>(static_cast<std::int32_t>(number_at(header, at + 4 * index)));
  };
  return {value(0), value(1), value(3), value(4)};
}

bool is_version_1(const Bytes& header) { return !header.empty() && header[0] == 1; }

// `data` with other durations: `movie` in the movie's units, `track` in ticks.
Bytes rewrite(const Bytes& data, const Bytes& table, const Bytes& movie, const Bytes& track) {
  // Name -> (offset, value) within boxes of version 0.
  const std::map<std::string, std::pair<std::size_t, Bytes>> fields = {
      {"mvhd", {16, movie}}, {"tkhd", {20, movie}}, {"elst", {8, movie}}, {"mdhd", {12, track}}};
  Bytes out;
  for (Box& each : boxes(data)) {
    const auto field = fields.find(each.name);
    if (each.name == "trak" || each.name == "mdia" || each.name == "minf" || each.name == "stbl" ||
        each.name == "edts") {
      each.content = rewrite(each.content, table, movie, track);
    } else if (each.name == "stts") {
      each.content = table;
    } else if (field != fields.end()) {
      const auto& [at, value] = field->second;
      if (each.content.size() >= at + value.size()) each.content.replace(at, value.size(), value);
    }
    out += box(each.name, each.content);
  }
  return out;
}

std::optional<Bytes> with_durations(const Bytes& moov, const std::vector<double>& durations) {
  std::vector<Bytes> tracks;
  for (Box& each : boxes(moov)) {
    if (each.name == "trak") tracks.push_back(std::move(each.content));
  }
  if (tracks.size() != 1) return {};
  const Bytes header = child(moov, {"mvhd"});
  for (const Bytes& each : {header, child(tracks[0], {"tkhd"}), child(tracks[0], {"mdia", "mdhd"})}) {
    if (each.empty() || each[0] != 0) return {};
  }
  const Bytes stts = child(tracks[0], {"mdia", "minf", "stbl", "stts"});
  std::uint64_t count = 0;
  for (std::size_t at = 8; at + 8 <= stts.size(); at += 8) count += number_at(stts, at);
  if (count != durations.size()) return {};
  Bytes runs;
  double runs_count = 0, total = 0;
  for (std::size_t i = 0, begin = 0; i < durations.size(); ++i) {
    total += durations[i];
    if (i + 1 < durations.size() && durations[i + 1] == durations[i]) continue;
    runs += number(static_cast<double>(i + 1 - begin)) + number(durations[i]);
    begin = i + 1;
    ++runs_count;
  }
  const Bytes table = number(0) + number(runs_count) + runs;
  const auto movie_ticks = static_cast<double>(number_at(header, 12));
  return rewrite(moov, table, number(total * movie_ticks / kTicks),
                 number(kTicks) + number(total));
}

}  // namespace

Result<int> read_orientation(const std::string& path) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return 1;
  const Moov moov = find_moov(file, size);
  Matrix movie{1, 0, 0, 1}, track{1, 0, 0, 1};
  for (const Box& each : boxes(moov.content)) {
    if (each.name == "mvhd") movie = matrix(each.content, is_version_1(each.content) ? 48 : 36);
    const Bytes handler = child(each.content, {"mdia", "hdlr"});
    if (each.name != "trak" || handler.size() < 12 || handler.substr(8, 4) != "vide") continue;
    const Bytes header = child(each.content, {"tkhd"});
    track = matrix(header, is_version_1(header) ? 52 : 40);
    break;
  }
  const auto& [a, b, c, d] = track;
  const auto& [e, f, g, h] = movie;
  const Matrix product{a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h};
  std::array<int, 4> signs;
  std::transform(product.begin(), product.end(), signs.begin(),
                 [](double value) { return (value > 0) - (value < 0); });
  static const std::map<std::array<int, 4>, int> kOrientations = {
      {{1, 0, 0, 1}, 1},  {{-1, 0, 0, 1}, 2},  {{-1, 0, 0, -1}, 3},
      {{1, 0, 0, -1}, 4}, {{0, 1, 1, 0}, 5},   {{0, 1, -1, 0}, 6},
      {{0, -1, -1, 0}, 7}, {{0, -1, 1, 0}, 8}, {{0, 0, 0, 0}, 1}};  // The last: left empty.
  const auto found = kOrientations.find(signs);
  if (found == kOrientations.end()) {
    return Error{"is turned by an angle that is not a multiple of 90 degrees"};
  }
  return found->second;
}

Status set_frame_times(const std::string& path, const std::vector<double>& times_s, double rate) {
  bool regular = true;
  for (std::size_t i = 0; i < times_s.size(); ++i) {
    const double expected_s = static_cast<double>(i) / rate;
    regular = regular && std::abs(times_s[i] - times_s[0] - expected_s) < 0.5 / rate;
  }
  if (regular) return Done{};
  std::vector<double> durations;
  for (std::size_t i = 0; i < times_s.size(); ++i) {
    const double begin = std::round(kTicks * (times_s[i] - times_s[0]));
    const double end = i + 1 < times_s.size()
                           ? std::round(kTicks * (times_s[i + 1] - times_s[0]))
                           : begin + std::round(kTicks / rate);
    durations.push_back(std::max(1.0, end - begin));
  }
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const Moov moov = find_moov(file, size);
  if (moov.content.empty() || moov.offset + 8 + moov.content.size() != size) return Done{};
  const auto changed = with_durations(moov.content, durations);
  if (!changed) return Done{};
  const Bytes written = box("moov", *changed);
  file.seekp(static_cast<std::streamoff>(moov.offset));
  file.write(written.data(), static_cast<std::streamsize>(written.size()));
  file.close();
  std::filesystem::resize_file(path, moov.offset + written.size(), error);
  if (file && !error) return Done{};
  return Error{path + ": the frames' times cannot be written; is the disk full?"};
}

}  // namespace kseg
