// kseg_run --doctor: is everything here that a model needs, and do CPU and GPU answer alike?
#pragma once

#include <string>

#include "kseg/model.h"

namespace kseg {

// Prints what it finds. `model` may be empty: then only the machine is looked at. Returns the exit
// code, as kseg.doctor: 0 all that this machine should do works, 1 something does not (no LiteRT,
// the GPU crashes or answers otherwise than the CPU, or `need_gpu` and there is none), 2 a bad
// model.
int run_doctor(const std::string& model, const SegmenterOptions& options, bool need_gpu);

}  // namespace kseg
