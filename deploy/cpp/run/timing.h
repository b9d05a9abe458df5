// What each stage of a frame costs, for kseg_run --timing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "kseg/stopwatch.h"

namespace kseg {

// Decoding, encoding and writing are in none. draw: colours, legend and the writer's channel order.
enum Stage : std::size_t { kFitStage, kInferenceStage, kUnfitStage, kDrawStage, kMeasureStage };
constexpr std::size_t kStages = 5;
using FrameTimes = std::array<Lap, kStages>;

class Timing {
 public:
  void add(const FrameTimes& times);

  // A table: minimum / median of each stage in ms, and of all beside inference together, as shares
  // of inference's minimum / median. one_thread: the calling thread's processor time is all there
  // is, and the shares are of it; else only wall time is told.
  void print(std::FILE* file, bool one_thread) const;

 private:
  std::size_t count_ = 0;
  std::vector<FrameTimes> kept_;
};

}  // namespace kseg
