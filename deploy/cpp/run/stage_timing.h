// Times of the stages of a frame, for kseg_run --timing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "kseg/stopwatch.h"

namespace kseg {

// Decoding, encoding and writing belong to no stage. draw: colours, legend and conversion to BGR.
enum Stage : std::size_t { kFitStage, kInferenceStage, kUnfitStage, kDrawStage, kMeasureStage };
constexpr std::size_t kStages = 5;
using FrameTimes = std::array<Lap, kStages>;

class StageTiming {
 public:
  void add(const FrameTimes& times);

  // Prints a table: minimum / median of each stage and of all except inference together, in ms and
  // as shares of inference's minimum / median. one_thread: inference uses only the calling thread,
  // so its processor time is printed too and the shares refer to it; else only wall time is
  // printed.
  void print(std::FILE* file, bool one_thread) const;

 private:
  std::size_t count_ = 0;
  std::vector<FrameTimes> latest_;
};

}  // namespace kseg
