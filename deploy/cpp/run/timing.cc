#include "run/timing.h"

#include <algorithm>

namespace kseg {
namespace {

constexpr std::size_t kKept = 1 << 14;  // A camera has no end: old frames give way to new ones.
constexpr std::array<const char*, kStages> kNames{"fit", "inference", "unfit", "draw", "measure"};

struct Figures {
  double minimum = 0, median = 0;
};

struct Row {
  Figures wall, cpu;
};

Figures figures(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {values.front(), median};
}

// `of`: FrameTimes -> the Lap to look at.
template <typename Of>
Row row(const std::vector<FrameTimes>& kept, const Of& of) {
  std::vector<double> wall, cpu;
  for (const FrameTimes& times : kept) {
    const Lap lap = of(times);
    wall.push_back(lap.wall_ms);
    cpu.push_back(lap.cpu_ms);
  }
  return {figures(std::move(wall)), figures(std::move(cpu))};
}

Lap beside_inference(const FrameTimes& times) {
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
  const Figures& part = one_thread ? row.cpu : row.wall;
  const Figures& whole = one_thread ? inference.cpu : inference.wall;
  std::fprintf(file, "%-18s%7.2f / %6.2f", name, row.wall.minimum, row.wall.median);
  if (one_thread) std::fprintf(file, "  %7.2f / %6.2f", row.cpu.minimum, row.cpu.median);
  std::fprintf(file, "  %6.1f / %5.1f %%\n", 100 * part.minimum / whole.minimum,
               100 * part.median / whole.median);
}

}  // namespace

void Timing::add(const FrameTimes& times) {
  if (kept_.size() < kKept) kept_.emplace_back();
  kept_[count_++ % kKept] = times;
}

void Timing::print(std::FILE* file, bool one_thread) const {
  if (kept_.empty()) return;
  std::fprintf(file, "%-18s%-16s%s  of inference\n", "minimum / median", "  wall ms",
               one_thread ? "  processor ms    " : "");
  const auto stage_row = [this](std::size_t stage) {
    return row(kept_, [stage](const FrameTimes& times) { return times[stage]; });
  };
  const Row inference = stage_row(kInferenceStage);
  for (std::size_t stage = 0; stage < kStages; ++stage) {
    const Row found = stage_row(stage);
    if (found.wall.median > 0) {  // Else it was not asked for.
      print_row(file, kNames[stage], found, inference, one_thread);
    }
  }
  print_row(file, "beside inference", row(kept_, beside_inference), inference, one_thread);
}

}  // namespace kseg
