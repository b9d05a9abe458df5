#include <cstdio>
#include <vector>

#include "kseg/segmenter.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto segmenter = kseg::Segmenter::load(argv[1], {kseg::Accelerator::kCpu, 2});
  if (!segmenter) {
    std::fprintf(stderr, "error: %s\n", segmenter.error().message.c_str());
    return 2;
  }
  std::vector<std::uint8_t> camera(720 * 1280 * 3);  // RGB, row by row.
  kseg::Image class_map;
  for (int i = 0; i < 3; ++i) {
    const kseg::Status done = segmenter->run({camera.data(), {720, 1280}, 1280 * 3}, class_map);
    if (!done) return 2;
    for (const kseg::ClassLabel& label : segmenter->contract().classes) {
      int pixels = 0;
      for (const std::uint8_t id : class_map.data) pixels += id == label.id ? 1 : 0;
      std::printf("%s: %d\n", label.name.c_str(), pixels);
    }
  }
  return 0;
}
