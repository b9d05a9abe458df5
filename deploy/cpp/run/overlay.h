// Class colours over a frame.
#pragma once

#include "kseg/contract.h"
#include "kseg/fit.h"

namespace kseg {

// Mixes each class's colour half and half into (h, w, 3) RGB `picture`. Black classes stay clear.
void blend(const std::vector<ClassLabel>& classes, const Image& class_map, Image& picture);

}  // namespace kseg
