// Fits frames that arrive on stdin, for tests/deploy/test_cpp.py. Repeatedly reads 6 int32 (frame
// height and width, input height and width, fit, pad value), a frame and a class map of the input's
// size; writes the fitted frame and the class map mapped back to the frame.
#include <cstdio>

#include "kseg/fit.h"

namespace {

bool read_all(void* to, std::size_t size) { return std::fread(to, 1, size, stdin) == size; }

bool write_all(const kseg::Image& image) {
  return std::fwrite(image.data.data(), 1, image.data.size(), stdout) == image.data.size();
}

}  // namespace

int main() {
  std::int32_t header[6];
  while (read_all(header, sizeof header)) {
    const kseg::Size frame_size{header[0], header[1]}, input_size{header[2], header[3]};
    const auto fit = static_cast<kseg::Fit>(header[4]);
    kseg::Image frame, class_map, fitted, ids;
    frame.resize(frame_size, 3);
    class_map.resize(input_size, 1);
    if (!read_all(frame.data.data(), frame.data.size())) return 1;
    if (!read_all(class_map.data.data(), class_map.data.size())) return 1;
    const kseg::FrameView view{frame.data.data(), frame_size, frame.row_bytes()};
    kseg::fit_frame(view, input_size, fit, static_cast<std::uint8_t>(header[5]), fitted);
    kseg::unfit_class_map(class_map, frame_size, fit, ids);
    if (!write_all(fitted) || !write_all(ids) || std::fflush(stdout) != 0) return 1;
  }
  return 0;
}
