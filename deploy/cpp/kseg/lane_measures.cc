#include "kseg/lane_measures.h"

#include <algorithm>
#include <cstdio>

namespace kseg {
namespace {

constexpr const char* kEgoClass = "direct";

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
  Run longest, current;
  for (int x = 0; x < width; ++x) {
    if (wanted[line[x]]) {
      if (current.length++ == 0) current.start = x;
    } else {
      current = {};
    }
    if (current.length > longest.length) longest = current;
  }
  return longest;
}

}  // namespace

Result<LaneMeasures> LaneMeasures::make(const std::vector<ClassLabel>& classes,
                                        std::vector<double> rows,
                                        const std::optional<std::string>& ego) {
  if (ego && find(classes, *ego) == nullptr) {
    std::string names;
    for (const ClassLabel& label : classes) names += (names.empty() ? "" : ", ") + label.name;
    return Error{"--ego " + *ego + ": not a class of this model (" + names + ")"};
  }
  for (const double row : rows) {
    if (row >= 0 && row < 1) continue;
    char text[32];
    std::snprintf(text, sizeof text, "%g", row);
    return Error{std::string("--rows ") + text +
                 ": expected a share of the frame's height, from 0 to below 1"};
  }
  LaneMeasures measures;
  for (const ClassLabel& label : classes) {
    measures.drivable_[static_cast<std::size_t>(label.id)] = label.drivable;
    measures.has_drivable_ = measures.has_drivable_ || label.drivable;
  }
  measures.rows_ = std::move(rows);
  const ClassLabel* lane = find(classes, ego.value_or(kEgoClass));
  measures.ego_ = measures.drivable_;
  if (lane != nullptr) {
    measures.ego_ = {};
    measures.ego_[static_cast<std::size_t>(lane->id)] = true;
  }
  return measures;
}

Measurements LaneMeasures::measure(const Image& class_map) const {
  std::size_t drivable = 0, seen = 0;
  for (const std::uint8_t id : class_map.data) {
    drivable += drivable_[id] ? 1U : 0U;
    seen += id != kUnseenId ? 1U : 0U;
  }
  Measurements out;
  if (seen > 0 && has_drivable_) {
    out.drivable_share = static_cast<double>(drivable) / static_cast<double>(seen);
  }
  for (const double row : rows_) out.rows.push_back(measure_row(class_map, row));
  return out;
}

LaneRow LaneMeasures::measure_row(const Image& class_map, double row) const {
  const auto [height, width] = class_map.size;
  LaneRow out;
  out.row = row;
  out.row_px = static_cast<int>(row * height);
  if (has_drivable_) out.free_px = 0;
  const Run run = longest_run(class_map.row(out.row_px), width, ego_);
  if (run.length == 0) return out;
  const double centre = run.start + (run.length - 1) / 2.0;
  out.centre_offset_px = centre - (width - 1) / 2.0;
  out.width_px = run.length;
  if (!has_drivable_) return out;
  const auto column = static_cast<std::size_t>(centre);
  for (int y = out.row_px; y >= 0 && drivable_[class_map.row(y)[column]]; --y) ++*out.free_px;
  return out;
}

}  // namespace kseg
