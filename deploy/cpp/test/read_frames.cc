// Writes what open_frames() reads from a folder or a video, for tests/deploy/test_odd_pictures.py and
// test_videos.py: for each frame a line "frame NAME HEIGHT WIDTH", of videos with the time in seconds
// at its end, and its RGB pixels, or a line "corrupt MESSAGE".
#include <cstdio>

#include "run/frames.h"

int main(int count, char** arguments) {
  if (count != 2) return 2;
  auto source = kseg::open_frames(arguments[1], {});
  if (!source) {
    std::fprintf(stderr, "%s\n", source.error().message.c_str());
    return 2;
  }
  kseg::Frame frame;
  while (true) {
    const auto status = (*source)->next(frame);
    if (!status) return 3;
    if (*status == kseg::FrameStatus::kEnd) return 0;
    if (*status == kseg::FrameStatus::kCorrupt) {
      std::printf("corrupt %s\n", frame.name.c_str());
      continue;
    }
    std::printf("frame %s %d %d", frame.name.c_str(), frame.image.size.height,
                frame.image.size.width);
    if (frame.time_s) std::printf(" %.6f", *frame.time_s);
    std::printf("\n");
    std::fwrite(frame.image.data.data(), 1, frame.image.data.size(), stdout);
  }
}
