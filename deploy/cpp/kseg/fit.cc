#include "kseg/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

// Our own resize, because a car need not have OpenCV. It repeats OpenCV's arithmetic step by step
// (modules/imgproc/src/resize.cpp; 4.6 and 5.0 agree), which gives the same pixels. That requires
// every multiplication and addition to be rounded: CMakeLists.txt sets -ffp-contract=off.

namespace kseg {
namespace {

using std::size_t;

size_t index(int value) { return static_cast<size_t>(value); }

std::uint8_t round_to_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(std::lrintf(value), 0L, 255L));  // Half to even.
}

double scale_of(int from_side, int to_side) {
  return 1.0 / (static_cast<double>(to_side) / from_side);
}

// Weight of source pixel `from` in target pixel `to`.
struct AreaWeight {
  int to, from;
  float weight;
};

// Which source pixels each target pixel covers, along one axis, when shrinking.
std::vector<AreaWeight> area_weights(int from_side, int to_side) {
  constexpr double kSliver = 1e-3;  // OpenCV ignores smaller shares of a pixel.
  const double scale = scale_of(from_side, to_side);
  std::vector<AreaWeight> weights;
  for (int to = 0; to < to_side; ++to) {
    const double start = to * scale, end = start + scale;
    const double cell = std::min(scale, from_side - start);
    const int last = std::min(static_cast<int>(std::floor(end)), from_side - 1);
    const int first = std::min(static_cast<int>(std::ceil(start)), last);
    if (first - start > kSliver) {
      weights.push_back({to, first - 1, static_cast<float>((first - start) / cell)});
    }
    for (int from = first; from < last; ++from) {
      weights.push_back({to, from, static_cast<float>(1.0 / cell)});
    }
    if (end - last > kSliver) {
      const double covered = std::min(std::min(end - last, 1.0), cell);
      weights.push_back({to, last, static_cast<float>(covered / cell)});
    }
  }
  return weights;
}

// Shrinks one row of pixels. Sums in local variables, because writes through `row` might alias.
void shrink_row(const std::uint8_t* source, const std::vector<AreaWeight>& columns, float* row) {
  for (size_t i = 0; i < columns.size();) {
    const int to = columns[i].to;
    float red = 0, green = 0, blue = 0;
    for (; i < columns.size() && columns[i].to == to; ++i) {
      const std::uint8_t* from = source + 3 * index(columns[i].from);
      red += static_cast<float>(from[0]) * columns[i].weight;
      green += static_cast<float>(from[1]) * columns[i].weight;
      blue += static_cast<float>(from[2]) * columns[i].weight;
    }
    float* const pixel = row + 3 * index(to);
    pixel[0] = red, pixel[1] = green, pixel[2] = blue;
  }
}

void resize_area(const FrameView& frame, Image& out) {
  const std::vector<AreaWeight> columns = area_weights(frame.size.width, out.size.width);
  const std::vector<AreaWeight> rows = area_weights(frame.size.height, out.size.height);
  std::vector<float> row(out.row_bytes()), sum(out.row_bytes());
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r == 0 || rows[r - 1].from != rows[r].from) {  // Else two target rows share the source row.
      shrink_row(frame.rgb + index(rows[r].from) * frame.stride, columns, row.data());
    }
    const bool first = r == 0 || rows[r - 1].to != rows[r].to;
    const float weight = rows[r].weight;
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] = first ? weight * row[i] : sum[i] + weight * row[i];
    }
    if (r + 1 == rows.size() || rows[r + 1].to != rows[r].to) {
      std::transform(sum.begin(), sum.end(), out.row(rows[r].to), round_to_byte);
    }
  }
}

// An integer number of source pixels per target pixel along both axes: their mean.
void resize_area_integer(const FrameView& frame, int factor_y, int factor_x, Image& out) {
  const int area = factor_y * factor_x;
  const float share = 1.0F / static_cast<float>(area);
  std::vector<int> sums(out.row_bytes());
  for (int y = 0; y < out.size.height; ++y) {
    std::fill(sums.begin(), sums.end(), 0);
    for (int dy = 0; dy < factor_y; ++dy) {
      const std::uint8_t* from = frame.rgb + index(y * factor_y + dy) * frame.stride;
      for (int x = 0; x < out.size.width; ++x) {
        int* to = sums.data() + 3 * index(x);
        for (int dx = 0; dx < factor_x; ++dx, from += 3) {
          for (int c = 0; c < 3; ++c) to[c] += from[c];
        }
      }
    }
    const bool quad = factor_y == 2 && factor_x == 2;  // OpenCV rounds this case half up.
    std::transform(sums.begin(), sums.end(), out.row(y), [quad, share](int sum) {
      return quad ? static_cast<std::uint8_t>((sum + 2) >> 2)
                  : round_to_byte(static_cast<float>(sum) * share);
    });
  }
}

// Two neighbours and their weights in 1/2048 for one target pixel.
struct Taps {
  int first, second, weight_first, weight_second;
};

std::vector<Taps> linear_taps(int from_side, int to_side, bool clamp_fraction) {
  const double scale = scale_of(from_side, to_side);
  std::vector<Taps> taps(index(to_side));
  for (int to = 0; to < to_side; ++to) {
    float fraction = static_cast<float>((to + 0.5) * scale - 0.5);
    int first = static_cast<int>(std::floor(fraction));
    fraction -= static_cast<float>(first);
    if (clamp_fraction && (first < 0 || first >= from_side - 1)) fraction = 0.0F;
    const auto weight = [](float share) { return static_cast<int>(std::lrintf(share * 2048.0F)); };
    taps[index(to)] = {std::clamp(first, 0, from_side - 1), std::clamp(first + 1, 0, from_side - 1),
                       weight(1.0F - fraction), weight(fraction)};
  }
  return taps;
}

void resize_linear(const FrameView& frame, Image& out) {
  const std::vector<Taps> columns = linear_taps(frame.size.width, out.size.width, true);
  const std::vector<Taps> rows = linear_taps(frame.size.height, out.size.height, false);
  std::vector<int> above(out.row_bytes()), below(out.row_bytes());
  int above_row = -1, below_row = -1;
  const auto stretch = [&](int y, std::vector<int>& to) {
    const std::uint8_t* from = frame.rgb + index(y) * frame.stride;
    for (size_t x = 0; x < columns.size(); ++x) {
      const Taps& tap = columns[x];
      for (size_t c = 0; c < 3; ++c) {
        to[3 * x + c] = from[3 * index(tap.first) + c] * tap.weight_first +
                        from[3 * index(tap.second) + c] * tap.weight_second;
      }
    }
  };
  for (int y = 0; y < out.size.height; ++y) {
    const Taps& tap = rows[index(y)];
    if (tap.first != above_row) {
      if (tap.first == below_row) {
        above.swap(below);
        std::swap(above_row, below_row);
      } else {
        stretch(tap.first, above);
        above_row = tap.first;
      }
    }
    if (tap.second != below_row) {
      stretch(tap.second, below);
      below_row = tap.second;
    }
    std::uint8_t* to = out.row(y);
    for (size_t i = 0; i < above.size(); ++i) {
      const int top = tap.weight_first * (above[i] >> 4) >> 16;
      const int bottom = tap.weight_second * (below[i] >> 4) >> 16;
      to[i] = static_cast<std::uint8_t>((top + bottom + 2) >> 2);
    }
  }
}

void resize_frame(const FrameView& frame, Image& out) {
  const double scale_y = scale_of(frame.size.height, out.size.height);
  const double scale_x = scale_of(frame.size.width, out.size.width);
  const auto is_integer = [](double scale) {  // OpenCV's test, for which 1 / (1 / 98) is not one.
    return std::abs(scale - std::round(scale)) < std::numeric_limits<double>::epsilon();
  };
  if (out.size.height > frame.size.height || out.size.width > frame.size.width) {
    resize_linear(frame, out);
  } else if (is_integer(scale_y) && is_integer(scale_x)) {
    const auto factor = [](double scale) { return static_cast<int>(std::round(scale)); };
    resize_area_integer(frame, factor(scale_y), factor(scale_x), out);
  } else {
    resize_area(frame, out);
  }
}

// Copies the part of `from` that lies inside `to` when its corner is at (top, left).
void paste(const std::uint8_t* from, Size size, size_t stride, int top, int left, Image& to) {
  const int rows = std::min(size.height - std::max(-top, 0), to.size.height - std::max(top, 0));
  const int columns = std::min(size.width - std::max(-left, 0), to.size.width - std::max(left, 0));
  const size_t pixel = index(to.channels);
  for (int y = 0; y < rows; ++y) {
    std::memcpy(to.row(y + std::max(top, 0)) + index(std::max(left, 0)) * pixel,
                from + index(y + std::max(-top, 0)) * stride + index(std::max(-left, 0)) * pixel,
                index(std::max(columns, 0)) * pixel);
  }
}

}  // namespace

void Image::resize(Size to, int to_channels) {
  size = to;
  channels = to_channels;
  data.resize(index(to.height) * row_bytes());
}

Placement placement(Size frame, Size input, Fit fit) {
  if (fit == Fit::kStretch) return {input, 0, 0};
  const double by_height = static_cast<double>(input.height) / frame.height;
  const double by_width = static_cast<double>(input.width) / frame.width;
  const double scale =
      fit == Fit::kLetterbox ? std::min(by_height, by_width) : std::max(by_height, by_width);
  const auto scaled = [scale](int side) {
    return std::max(1, static_cast<int>(side * scale + 0.5));
  };
  const Size size{scaled(frame.height), scaled(frame.width)};
  return {size, (input.height - size.height) / 2, (input.width - size.width) / 2};
}

Region frame_region(Size frame, Size input, Fit fit) {
  const Placement place = placement(frame, input, fit);
  const int top = std::max(place.top, 0), left = std::max(place.left, 0);
  return {top, left,
          {std::min(place.top + place.size.height, input.height) - top,
           std::min(place.left + place.size.width, input.width) - left}};
}

void fit_frame(const FrameView& frame, Size input_size, Fit fit, std::uint8_t pad_value,
               Image& out) {
  const Placement place = placement(frame.size, input_size, fit);
  out.resize(input_size, 3);
  if (frame.size == place.size) {
    if (place.size != input_size) std::fill(out.data.begin(), out.data.end(), pad_value);
    paste(frame.rgb, frame.size, frame.stride, place.top, place.left, out);
  } else if (place.size == input_size) {
    resize_frame(frame, out);
  } else {
    Image scaled;
    scaled.resize(place.size, 3);
    resize_frame(frame, scaled);
    std::fill(out.data.begin(), out.data.end(), pad_value);
    paste(scaled.data.data(), scaled.size, scaled.row_bytes(), place.top, place.left, out);
  }
}

void unfit_class_map(const Image& class_map, Size frame_size, Fit fit, Image& out) {
  // The centre of each frame pixel lies in one pixel of the scaled frame. In integers, to be exact.
  const auto nearest = [](int position, int from_side, int to_side) {
    const std::int64_t twice = (2 * std::int64_t{position} + 1) * from_side;
    return static_cast<int>(twice / (2 * std::int64_t{to_side}));
  };
  const Placement place = placement(frame_size, class_map.size, fit);
  out.resize(frame_size, 1);
  std::vector<int> columns(index(frame_size.width));
  for (int x = 0; x < frame_size.width; ++x) {
    columns[index(x)] = nearest(x, place.size.width, frame_size.width) + place.left;
  }
  int last_y = -1;
  for (int y = 0; y < frame_size.height; ++y) {
    const int from_y = nearest(y, place.size.height, frame_size.height) + place.top;
    std::uint8_t* to = out.row(y);
    if (y > 0 && from_y == last_y) {
      std::memcpy(to, out.row(y - 1), out.row_bytes());
      continue;
    }
    last_y = from_y;
    const bool row_seen = from_y >= 0 && from_y < class_map.size.height;
    for (size_t x = 0; x < columns.size(); ++x) {
      const bool seen = row_seen && columns[x] >= 0 && columns[x] < class_map.size.width;
      to[x] = seen ? class_map.row(from_y)[columns[x]] : kUnseenId;
    }
  }
}

}  // namespace kseg
