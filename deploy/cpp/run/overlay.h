// Draws class colours over a frame.
#pragma once

#include "kseg/contract.h"
#include "kseg/fit.h"

namespace kseg {

// Blends each class's colour at 50 % into (h, w, 3) RGB `frame`. Black classes leave it as it is.
void blend(const std::vector<ClassLabel>& classes, const Image& class_map, Image& frame);

}  // namespace kseg
