// kseg_run --json: a line of JSON for each frame, with the keys of deploy/python/kseg_run.
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "kseg/measure.h"
#include "kseg/result.h"

namespace kseg {

struct FrameLine {
  int frame = 0;  // Number among all frames that came, from 0, so that gaps show.
  std::string name;
  std::optional<double> time_s;  // Since the first frame; null for images.
  double latency_ms = 0;         // From frame to class map.
  double age_ms = 0;             // Since the frame came.
  Measurement measured;
};

// The object, without an end of line. Numbers are rounded as Python's: time_s to 4 places,
// latency_ms and age_ms to 3, drivable_share to 6.
std::string to_json(const FrameLine& line);

class JsonLines {
 public:
  // path "-": stdout.
  static Result<JsonLines> open(const std::string& path);

  // Writes through: who reads along, or comes after a crash, has all of it.
  Status put(const FrameLine& line);
  std::string text() const { return "numbers in " + path_; }

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
