// Numbers of one class map: how much is drivable, where our lane lies, how far it is free. All are
// of the picture: shares of it and image pixels, not metres. As deploy/python/kseg_run/measure.py.
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
  double row = 0;  // Share of the frame's height, 0 its top.
  int row_px = 0;  // floor(row x height), counted from 0 at the top.
  // Middle of the ego lane's longest run of pixels in that row (of equals the first) minus the
  // middle of the frame, (width - 1) / 2; positive: the lane lies right. None: no ego lane there.
  std::optional<double> centre_offset_px;
  int width_px = 0;  // That run's length.
  int free_px = 0;   // Drivable rows in succession from that middle upwards, the row included.
};

struct Measurement {
  std::optional<double> drivable_share;  // Of the pixels that the model saw; none: it saw none.
  std::vector<LaneRow> rows;
};

class Measure {
 public:
  // rows: shares of the frame's height, 0 to below 1. ego names the ego lane's class; none:
  // "direct" where the model has it, else all drivable ones. Errors name the flag of kseg_run.
  static Result<Measure> make(const std::vector<ClassLabel>& classes, std::vector<double> rows,
                              const std::optional<std::string>& ego);

  Measurement operator()(const Image& class_map) const;

 private:
  Measure() = default;
  LaneRow look(const Image& class_map, double row) const;

  std::vector<double> rows_;
  std::array<bool, 256> drivable_{}, ego_{};
};

}  // namespace kseg
