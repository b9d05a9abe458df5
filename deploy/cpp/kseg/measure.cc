#include "kseg/measure.h"

#include <algorithm>
#include <cstdio>

namespace kseg {
namespace {

constexpr const char* kEgo = "direct";

const ClassLabel* find(const std::vector<ClassLabel>& classes, const std::string& name) {
  for (const ClassLabel& label : classes) {
    if (label.name == name) return &label;
  }
  return nullptr;
}

struct Run {
  int start = 0, length = 0;
};

Run longest_run(const std::uint8_t* line, int width, const std::array<bool, 256>& wanted) {
  Run longest, at;
  for (int x = 0; x < width; ++x) {
    at = wanted[line[x]] ? Run{at.length > 0 ? at.start : x, at.length + 1} : Run{};
    if (at.length > longest.length) longest = at;
  }
  return longest;
}

}  // namespace

Result<Measure> Measure::make(const std::vector<ClassLabel>& classes, std::vector<double> rows,
                              const std::optional<std::string>& ego) {
  if (ego && find(classes, *ego) == nullptr) {
    std::string names;
    for (const ClassLabel& label : classes) names += (names.empty() ? "" : ", ") + label.name;
    return Error{"--ego " + *ego + ": no class of this model (" + names + ")"};
  }
  for (const double row : rows) {
    if (row >= 0 && row < 1) continue;
    char text[32];
    std::snprintf(text, sizeof text, "%g", row);
    return Error{std::string("--rows ") + text +
                 ": expected a share of the frame's height, 0 to <1"};
  }
  Measure measure;
  measure.rows_ = std::move(rows);
  for (const ClassLabel& label : classes) {
    measure.drivable_[static_cast<std::size_t>(label.id)] = label.drivable;
  }
  const ClassLabel* lane = find(classes, ego.value_or(kEgo));
  measure.ego_ = measure.drivable_;
  if (lane != nullptr) {
    measure.ego_ = {};
    measure.ego_[static_cast<std::size_t>(lane->id)] = true;
  }
  return measure;
}

Measurement Measure::operator()(const Image& class_map) const {
  std::size_t drivable = 0, seen = 0;
  for (const std::uint8_t id : class_map.data) {
    drivable += drivable_[id] ? 1U : 0U;
    seen += id != kUnseen ? 1U : 0U;
  }
  Measurement told;
  if (seen > 0) told.drivable_share = static_cast<double>(drivable) / static_cast<double>(seen);
  for (const double row : rows_) told.rows.push_back(look(class_map, row));
  return told;
}

LaneRow Measure::look(const Image& class_map, double row) const {
  const auto [height, width] = class_map.size;
  LaneRow told;
  told.row = row;
  told.row_px = static_cast<int>(row * height);
  const Run run = longest_run(class_map.row(told.row_px), width, ego_);
  if (run.length == 0) return told;
  const double middle = run.start + (run.length - 1) / 2.0;
  told.centre_offset_px = middle - (width - 1) / 2.0;
  told.width_px = run.length;
  const auto column = static_cast<std::size_t>(middle);
  for (int y = told.row_px; y >= 0 && drivable_[class_map.row(y)[column]]; --y) ++told.free_px;
  return told;
}

}  // namespace kseg
