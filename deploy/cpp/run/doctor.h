// kseg_run --doctor: is everything here that a model needs, and do CPU and GPU answer alike?
#pragma once

#include <string>

#include "kseg/model.h"

namespace kseg {

// Prints what it finds. `model` may be empty: then only the machine is looked at. Returns the exit
// code: 0 all asked for works, 2 no LiteRT or a bad model, 3 the GPU crashes or answers otherwise
// than the CPU, or `need_gpu` and there is none.
int run_doctor(const std::string& model, const SegmenterOptions& options, bool need_gpu);

}  // namespace kseg
