// Runs CheckedSegmenter with a planted fault, for tests/deploy/test_cpp.py: checked_frames
// MODEL_FOR_GPU MODEL may_fall_back recheck_s. Both models run on the CPU; the first plays the GPU.
// Repeatedly reads 2 int32 (frame height and width) and a frame, writes the class map and waits for
// a comparison that was started. At the end prints the summary to stderr.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "run/checked_segmenter.h"

namespace {

bool read_all(void* to, std::size_t size) { return std::fread(to, 1, size, stdin) == size; }

int fail(const kseg::CheckedSegmenter& segmenter, const kseg::Status& done) {
  std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
  return segmenter.gpu_lost() ? 3 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 1;
  auto gpu = kseg::Segmenter::load(argv[1], {kseg::Accelerator::kCpu, 1, ""});
  auto cpu = kseg::Segmenter::load(argv[2], {kseg::Accelerator::kCpu, 1, ""});
  if (!gpu || !cpu) return 1;
  kseg::CheckedSegmenter segmenter(argv[2], std::move(*gpu), std::move(*cpu),
                                   std::string(argv[3]) == "1", std::atof(argv[4]));
  kseg::Image frame, class_map;
  kseg::StageLaps laps;
  std::int32_t header[2];
  while (read_all(header, sizeof header)) {
    frame.resize({header[0], header[1]}, 3);
    if (!read_all(frame.data.data(), frame.data.size())) return 1;
    auto done = segmenter.run({frame.data.data(), frame.size, frame.row_bytes()}, class_map, laps);
    if (!done) return fail(segmenter, done);
    std::fwrite(class_map.data.data(), 1, class_map.data.size(), stdout);
    std::fflush(stdout);
    done = segmenter.finish();
    if (!done) return fail(segmenter, done);
  }
  std::fprintf(stderr, "%s\n", segmenter.summary().c_str());
  return 0;
}
