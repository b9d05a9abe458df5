#include "run/arguments.h"

#include <cmath>
#include <cstdlib>

namespace kseg {

const char* const kUsage =
    R"(usage: kseg_run MODEL INPUT [--out DIR] [--save-masks] [--no-overlays] [--json FILE]
                [--rows ROW...] [--ego CLASS] [--frames N] [--repeat N] [--timing]
                [--device cpu|gpu|auto] [--threads N] [--reconnect S] [--litert PATH]
       kseg_run --doctor [MODEL] [--device gpu] [--litert PATH]

Runs a kseg .tflite on an image, a folder, a video or a camera: 0, /dev/video0, csi:0 (Jetson), or a
GStreamer pipeline.

  --out DIR       default: overlays
  --save-masks    write class ids as PNG too
  --no-overlays   draw and write no pictures
  --json FILE     a line of numbers per frame: drivable share, our lane's offset and free length;
                  -: to stdout, the summary to stderr
  --rows ROW...   image rows that --json tells of, as shares of the frame's height from its top
                  (default: 0.6 0.8)
  --ego CLASS     our lane (default: direct, else all drivable classes)
  --frames N      stop after this many frames
  --repeat N      run a file or folder N times, write nothing, report memory
  --timing        print what each stage of a frame took, decoding and writing left out
  --device D      cpu (default); gpu: all of it or an error; auto: gpu, else cpu, saying so
  --threads N     CPU threads (default: LiteRT's)
  --reconnect S   seconds to wait for a camera that went away (default: 60)
  --litert PATH   libLiteRt.so or its folder (default: $KSEG_LITERT, then the linker's search)
  --doctor        check LiteRT, CPU, GPU and, with MODEL, that both answer alike

SIGINT (Ctrl-C) and SIGTERM end it after the frame at hand: the video is whole and the summary is
printed. A second one ends it at once.

Exit codes: 0 done, or stopped by a signal; 2 bad input or no such device; 3 a camera or a GPU was
lost on the way (what was written until then is kept). --doctor: 0 all that this machine should
do works; 1 something does not (no LiteRT, a GPU that crashes or answers otherwise than the CPU, or
with --device gpu no GPU); 2 bad input.
)";

namespace {

bool read_count(const char* text, int& to) {
  char* end = nullptr;
  const long parsed = std::strtol(text, &end, 10);
  to = static_cast<int>(parsed);
  return *end == '\0' && end != text && parsed >= 1 && parsed <= 1000000000;
}

bool read_seconds(const char* text, double& to) {
  char* end = nullptr;
  to = std::strtod(text, &end);
  return *end == '\0' && end != text && std::isfinite(to) && to >= 0;
}

// Sets what the flag `name` with `value` (null: none is left) says. Answers whether it took the
// value.
Result<bool> take(Arguments& arguments, const std::string& name, const char* value) {
  bool* const flag = name == "--save-masks"               ? &arguments.save_masks
                     : name == "--no-overlays"            ? &arguments.no_overlays
                     : name == "--timing"                 ? &arguments.timing
                     : name == "--doctor"                 ? &arguments.doctor
                     : name == "--help" || name == "-h" ? &arguments.help
                                                          : nullptr;
  if (flag != nullptr) {
    *flag = true;
    return false;
  }
  std::string* const text = name == "--out"      ? &arguments.out
                            : name == "--device" ? &arguments.device
                            : name == "--litert" ? &arguments.litert
                            : name == "--json"   ? &arguments.json
                                                 : nullptr;
  int* const count = name == "--threads"  ? &arguments.threads
                     : name == "--frames" ? &arguments.frames
                     : name == "--repeat" ? &arguments.repeat
                                          : nullptr;
  const bool seconds = name == "--reconnect", ego = name == "--ego";
  if (text == nullptr && count == nullptr && !seconds && !ego) {
    return Error{"unrecognized argument: " + name};
  }
  if (value == nullptr) return Error{"argument " + name + ": expected one argument"};
  if (text != nullptr) *text = value;
  if (ego) arguments.ego = value;
  if (count != nullptr && !read_count(value, *count)) {
    return Error{name + " " + value + ": expected at least 1"};
  }
  if (seconds && !read_seconds(value, arguments.reconnect_s)) {
    return Error{name + " " + value + ": expected seconds, at least 0"};
  }
  return true;
}

// Takes the numbers from argv[at] on, up to the next flag; returns how many.
Result<int> take_rows(Arguments& arguments, int argc, char** argv, int at) {
  const int first = at;
  arguments.rows.clear();
  for (; at < argc; ++at) {
    char* end = nullptr;
    const double row = std::strtod(argv[at], &end);
    if (*end == '\0' && end != argv[at]) {
      arguments.rows.push_back(row);
    } else if (argv[at][0] == '-') {
      break;
    } else {
      return Error{std::string("argument --rows: ") + argv[at] +
                   " is no number; put --rows behind MODEL and INPUT"};
    }
  }
  if (at == first) return Error{"argument --rows: expected at least one number"};
  return at - first;
}

}  // namespace

Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.size() < 2 || name[0] != '-') {
      arguments.positional.push_back(name);
      continue;
    }
    if (name == "--rows") {
      const auto count = take_rows(arguments, argc, argv, i + 1);
      if (!count) return count.error();
      i += *count;
      continue;
    }
    const auto took_value = take(arguments, name, i + 1 < argc ? argv[i + 1] : nullptr);
    if (!took_value) return took_value.error();
    i += *took_value ? 1 : 0;
  }
  const std::size_t given = arguments.positional.size();
  if (!arguments.help && (arguments.doctor ? given > 1 : given != 2)) {
    return Error{"expected MODEL and INPUT; kseg_run --help shows how"};
  }
  const std::string& device = arguments.device;
  if (device != "cpu" && device != "gpu" && device != "auto") {
    return Error{"--device " + device + ": expected cpu, gpu or auto"};
  }
  if (!arguments.json.empty() && arguments.repeat > 0) {
    return Error{"--json and --repeat: choose one; --repeat writes nothing"};
  }
  return arguments;
}

}  // namespace kseg
