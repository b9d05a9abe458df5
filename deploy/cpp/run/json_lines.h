// kseg_run --json: one JSON object per frame and line, with the keys of deploy/python/kseg_run.
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "kseg/lane_measures.h"
#include "kseg/result.h"

namespace kseg {

// The last comparison of GPU and CPU.
struct GpuCheckLine {
  int frames = 0;        // How many were compared.
  double agreement = 0;  // 0 to 1.
  double age_s = 0;
};

struct FrameLine {
  int frame = 0;  // Number among all frames that arrived, from 0, so that gaps show.
  std::string name;
  std::optional<double> time_s;  // Since the first frame; null for images.
  double latency_ms = 0;         // From frame to class map.
  double age_ms = 0;             // Since the camera took it, or since it was read from a file.
  int dropped = 0;               // Frames dropped so far.
  std::optional<GpuCheckLine> gpu_check;
  std::string device = "CPU";  // What the frame ran on: Graph::device().
  Measurements measurements;
};

// The JSON object, without a newline. Numbers are rounded as in Python: time_s to 4 decimals,
// latency_ms and age_ms to 3, drivable_share and agreement to 6, age_s to 1.
std::string to_json(const FrameLine& line);

class JsonLines {
 public:
  // path "-": stdout.
  static Result<JsonLines> open(const std::string& path);

  // Flushes every line, for a reader that follows along and after a crash.
  Status put(const FrameLine& line);
  std::string text() const { return "JSON lines in " + path_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };
  JsonLines(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace kseg
