// Measures of a class map: drivable share, lane offset and free distance. All are in image space
// (shares of the image and pixels), not in metres. The same as
// deploy/python/kseg_run/lane_measures.py.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/fit.h"
#include "kseg/result.h"

namespace kseg {

struct LaneRow {
  double row = 0;  // Share of the frame's height, 0 at the top.
  int row_px = 0;  // floor(row x height), counted from 0 at the top.
  // Centre of the ego lane's longest run of pixels in that row (of equally long runs, the first)
  // minus the frame's centre, (width - 1) / 2; positive: the lane lies right. None: no ego lane.
  std::optional<double> centre_offset_px;
  int width_px = 0;  // Length of that run.
  // Consecutive drivable rows from that centre upwards, including the row. None: no class is
  // drivable.
  std::optional<int> free_px;
};

struct Measurements {
  // Of the pixels that the model saw. None: it saw no pixel, or no class is drivable.
  std::optional<double> drivable_share;
  std::vector<LaneRow> rows;
};

class LaneMeasures {
 public:
  // rows: shares of the frame's height, 0 to below 1. ego: name of the ego lane's class; none:
  // "direct" if the model has it, else all drivable classes. Errors name the flag of kseg_run.
  static Result<LaneMeasures> make(const std::vector<ClassLabel>& classes,
                                   std::vector<double> rows,
                                   const std::optional<std::string>& ego);

  Measurements measure(const Image& class_map) const;

 private:
  LaneMeasures() = default;
  LaneRow measure_row(const Image& class_map, double row) const;

  std::vector<double> rows_;
  std::array<bool, 256> drivable_{}, ego_{};
  bool has_drivable_ = false;
};

}  // namespace kseg
