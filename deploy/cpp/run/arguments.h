// The command line of kseg_run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kseg/result.h"
#include "run/frames.h"

namespace kseg {

struct Arguments {
  std::vector<std::string> positional;
  std::string out = "overlays", device = "cpu", litert, onnxruntime, json;
  std::optional<std::string> ego;
  std::vector<double> rows{0.6, 0.8};
  bool save_masks = false, no_overlays = false, timing = false, doctor = false, help = false;
  int threads = 0, frames = 0, repeat = 0;
  double recheck_s = 30;
  CameraOptions camera;
};

Result<Arguments> parse_arguments(int argc, char** argv);

extern const char* const kUsage;

}  // namespace kseg
