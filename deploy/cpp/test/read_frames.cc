// Writes what open_frames() reads from a folder, for tests/deploy/test_odd_pictures.py: for each
// frame a line "frame NAME HEIGHT WIDTH" and its RGB pixels, or a line "corrupt MESSAGE".
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
    std::printf("frame %s %d %d\n", frame.name.c_str(), frame.image.size.height, frame.image.size.width);
    std::fwrite(frame.image.data.data(), 1, frame.image.data.size(), stdout);
  }
}
