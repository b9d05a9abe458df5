// Fits frames of any size to the model's input, and class maps back to the frame. Bit-exact with
// kseg/preprocess.py, which uses OpenCV, on any machine and without OpenCV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kseg/contract.h"

namespace kseg {

// Pixels owned by the caller: `stride` bytes from row to row, RGB interleaved, raw 0..255.
struct FrameView {
  const std::uint8_t* rgb = nullptr;
  Size size;
  std::size_t stride = 0;
};

// Owned pixels, without gaps between rows. A class map has 1 channel, an RGB image 3.
struct Image {
  Size size;
  int channels = 0;
  std::vector<std::uint8_t> data;

  void resize(Size to, int to_channels);
  std::size_t row_bytes() const {
    return static_cast<std::size_t>(size.width) * static_cast<std::size_t>(channels);
  }
  std::uint8_t* row(int y) { return data.data() + static_cast<std::size_t>(y) * row_bytes(); }
  const std::uint8_t* row(int y) const {
    return data.data() + static_cast<std::size_t>(y) * row_bytes();
  }
};

// Where a frame scaled to `size` lies in the input. Negative top or left: that much is cut away.
struct Placement {
  Size size;
  int top = 0, left = 0;
};

Placement placement(Size frame, Size input, Fit fit);

// Rows and columns of an image.
struct Region {
  int top = 0, left = 0;
  Size size;
};

// The part of the input that shows the frame: without letterbox bars.
Region frame_region(Size frame, Size input, Fit fit);

// Frame -> RGB of input_size: area average when both sides shrink, else bilinear.
void fit_frame(const FrameView& frame, Size input_size, Fit fit, std::uint8_t pad_value,
               Image& out);

// Class ids of the input's size -> ids of the frame's size, nearest neighbour; kUnseenId where
// `crop` cut away.
void unfit_class_map(const Image& class_map, Size frame_size, Fit fit, Image& out);

}  // namespace kseg
