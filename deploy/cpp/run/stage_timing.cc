#include "run/stage_timing.h"

#include <algorithm>

namespace kseg {
namespace {

constexpr std::size_t kMaxFrames = 1 << 14;  // A camera runs without end: the latest are latest.
constexpr std::array<const char*, kStages> kNames{"fit", "inference", "unfit", "draw", "measure"};

struct Summary {
  double minimum = 0, median = 0;
};

struct Row {
  Summary wall, cpu;
};

Summary summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {values.front(), median};
}

// select_lap: FrameTimes -> Lap.
template <typename SelectLap>
Row row(const std::vector<FrameTimes>& latest, const SelectLap& select_lap) {
  std::vector<double> wall, cpu;
  for (const FrameTimes& times : latest) {
    const Lap lap = select_lap(times);
    wall.push_back(lap.wall_ms);
    cpu.push_back(lap.cpu_ms);
  }
  return {summarize(std::move(wall)), summarize(std::move(cpu))};
}

Lap all_but_inference(const FrameTimes& times) {
  Lap sum;
  for (std::size_t stage = 0; stage < kStages; ++stage) {
    if (stage == kInferenceStage) continue;
    sum.wall_ms += times[stage].wall_ms;
    sum.cpu_ms += times[stage].cpu_ms;
  }
  return sum;
}

void print_row(std::FILE* file, const char* name, const Row& row, const Row& inference,
               bool one_thread) {
  const Summary& stage = one_thread ? row.cpu : row.wall;
  const Summary& reference = one_thread ? inference.cpu : inference.wall;
  std::fprintf(file, "%-18s%7.2f / %6.2f", name, row.wall.minimum, row.wall.median);
  if (one_thread) std::fprintf(file, "  %7.2f / %6.2f", row.cpu.minimum, row.cpu.median);
  std::fprintf(file, "  %6.1f / %5.1f %%\n", 100 * stage.minimum / reference.minimum,
               100 * stage.median / reference.median);
}

}  // namespace

void StageTiming::add(const FrameTimes& times) {
  if (latest_.size() < kMaxFrames) latest_.emplace_back();
  latest_[count_++ % kMaxFrames] = times;
}

void StageTiming::print(std::FILE* file, bool one_thread) const {
  if (latest_.empty()) return;
  std::fprintf(file, "%-18s%-16s%s  of inference\n", "minimum / median", "  wall ms",
               one_thread ? "  processor ms    " : "");
  const auto stage_row = [this](std::size_t stage) {
    return row(latest_, [stage](const FrameTimes& times) { return times[stage]; });
  };
  const Row inference = stage_row(kInferenceStage);
  for (std::size_t stage = 0; stage < kStages; ++stage) {
    const Row times = stage_row(stage);
    if (times.wall.median > 0) {  // Else the stage did not run.
      print_row(file, kNames[stage], times, inference, one_thread);
    }
  }
  print_row(file, "all but inference", row(latest_, all_but_inference), inference, one_thread);
}

}  // namespace kseg
