// The comparison of a GPU's class map with the CPU's. deploy/README.md has the rule, which is the
// same in Python and Java.
#pragma once

#include <optional>

#include "kseg/fit.h"
#include "kseg/result.h"
#include "kseg/segmenter.h"

namespace kseg {

// Smallest share of pixels on which GPU and CPU must agree: kseg.export's limit for fp16, the
// precision GPUs compute in.
constexpr double kMinGpuAgreement = 0.995;

// agreement: share of equal pixels, 0 to 1; none: passed over, the frame shows nothing.
struct Comparison {
  std::optional<double> agreement;
  double cpu_ms = 0;
};

// False for a frame that is black, white, or otherwise of one brightness.
bool has_contrast(const Image& rgb, const Region& region);

// input: the model's, RGB; the others: class ids of its size. region: the part that shows the frame.
std::optional<double> compare(const Image& input, const Image& gpu_ids, const Image& cpu_ids,
                              const Region& region);

// Runs the model on the CPU and compares. Fills in expected_ids, the CPU's. Fails if the CPU does.
Result<Comparison> compare_with_cpu(Segmenter& cpu, const Image& input, const Image& gpu_ids,
                                    const Region& region, Image& expected_ids);

}  // namespace kseg
