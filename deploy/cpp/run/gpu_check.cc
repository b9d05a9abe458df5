#include "run/gpu_check.h"

#include <algorithm>
#include <array>

#include "kseg/stopwatch.h"

namespace kseg {
namespace {

constexpr double kMinContrast = 8;  // Standard deviation of the green values, 0 to 255.

double area(const Region& region) {
  return static_cast<double>(region.size.height) * static_cast<double>(region.size.width);
}

}  // namespace

bool has_contrast(const Image& rgb, const Region& region) {
  std::int64_t sum = 0, squares = 0;
  for (int y = 0; y < region.size.height; ++y) {
    const std::uint8_t* green = rgb.row(region.top + y) + 3 * region.left + 1;
    for (int x = 0; x < region.size.width; ++x, green += 3) {
      sum += *green;
      squares += *green * *green;
    }
  }
  const double mean = static_cast<double>(sum) / area(region);
  const double variance = static_cast<double>(squares) / area(region) - mean * mean;
  return variance >= kMinContrast * kMinContrast;
}

std::optional<double> compare(const Image& input, const Image& gpu_ids, const Image& cpu_ids,
                              const Region& region) {
  std::array<std::int64_t, 256> counts{};
  std::int64_t equal = 0;
  for (int y = 0; y < region.size.height; ++y) {
    const std::uint8_t* gpu = gpu_ids.row(region.top + y) + region.left;
    const std::uint8_t* cpu = cpu_ids.row(region.top + y) + region.left;
    for (int x = 0; x < region.size.width; ++x) {
      ++counts[cpu[x]];
      equal += gpu[x] == cpu[x] ? 1 : 0;
    }
  }
  const double agreement = static_cast<double>(equal) / area(region);
  const auto most = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  const bool one_class = most >= kMinGpuAgreement * area(region);
  // A GPU that returned one class for every frame would agree too.
  const bool shows_nothing = one_class && agreement >= kMinGpuAgreement;
  if (shows_nothing || !has_contrast(input, region)) return std::nullopt;
  return agreement;
}

Result<Comparison> compare_with_cpu(Segmenter& cpu, const Image& input, const Image& gpu_ids,
                                    const Region& region, Image& expected_ids) {
  Stopwatch watch;
  const Status done =
      cpu.run_fitted({input.data.data(), input.size, input.row_bytes()}, expected_ids);
  if (!done) return done.error();
  const double cpu_ms = watch.lap().wall_ms;
  return Comparison{compare(input, gpu_ids, expected_ids, region), cpu_ms};
}

}  // namespace kseg
