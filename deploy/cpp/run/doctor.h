// kseg_run --doctor: what this machine can run, and whether CPU and GPU agree.
#pragma once

#include <string>

#include "kseg/segmenter.h"

namespace kseg {

// Prints a report. `model` may be empty: then only the machine is checked. Returns the exit code,
// as kseg.doctor: 0 everything that this machine should do works, 1 something does not (no LiteRT,
// the GPU crashes or disagrees with the CPU, or `need_gpu` and there is none), 2 a bad model.
int run_doctor(const std::string& model, const SegmenterOptions& options, bool need_gpu);

}  // namespace kseg
