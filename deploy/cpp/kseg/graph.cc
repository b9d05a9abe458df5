#include "kseg/graph.h"

namespace kseg {

std::size_t Tensor::bytes() const {
  std::size_t count = type == DataType::kUint8 ? 1 : 4;
  for (const int side : shape) count *= static_cast<std::size_t>(side);
  return count;
}

std::string Tensor::text() const {
  std::string out = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + ") " + name_of(type);
}

}  // namespace kseg
