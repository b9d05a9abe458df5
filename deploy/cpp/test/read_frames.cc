// Writes what open_frames() reads from a folder, for tests/deploy/test_odd_pictures.py: for each
// frame a line "frame NAME HEIGHT WIDTH" and its RGB pixels, or a line "corrupt MESSAGE".
#include <cstdio>

#include "run/frames.h"

int main(int count, char** arguments) {
  if (count != 2) return 2;
  auto source = kseg::open_frames(arguments[1], 1);
  if (!source) {
    std::fprintf(stderr, "%s\n", source.error().message.c_str());
    return 2;
  }
  kseg::Image frame;
  std::string name;
  while (true) {
    const auto status = (*source)->next(frame, name);
    if (!status) return 3;
    if (*status == kseg::FrameStatus::kEnd) return 0;
    if (*status == kseg::FrameStatus::kCorrupt) {
      std::printf("corrupt %s\n", name.c_str());
      continue;
    }
    std::printf("frame %s %d %d\n", name.c_str(), frame.size.height, frame.size.width);
    std::fwrite(frame.data.data(), 1, frame.data.size(), stdout);
  }
}
