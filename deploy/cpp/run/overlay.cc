#include "run/overlay.h"

namespace kseg {

void blend(const std::vector<ClassLabel>& classes, const Image& class_map, Image& frame) {
  std::array<const ClassLabel*, 256> label_of_id{};
  for (const ClassLabel& label : classes) {
    const bool black = label.color == std::array<std::uint8_t, 3>{};
    label_of_id[static_cast<std::size_t>(label.id)] = black ? nullptr : &label;
  }
  for (std::size_t i = 0; i < class_map.data.size(); ++i) {
    const ClassLabel* label = label_of_id[class_map.data[i]];
    for (std::size_t c = 0; label != nullptr && c < 3; ++c) {
      std::uint8_t& value = frame.data[3 * i + c];
      const int sum = value + label->color[c];
      value = static_cast<std::uint8_t>((sum + ((sum >> 1) & 1)) >> 1);  // Rounds half to even.
    }
  }
}

}  // namespace kseg
