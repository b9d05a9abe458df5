#include "run/arguments.h"

#include <cmath>
#include <cstdlib>

namespace kseg {

const char* const kUsage =
    R"(usage: kseg_run MODEL INPUT [--out DIR] [--save-masks] [--no-overlays] [--json FILE]
                [--rows ROW...] [--ego CLASS] [--frames N] [--repeat N] [--timing]
                [--device cpu|gpu|auto] [--recheck S] [--threads N] [--camera-size WxH]
                [--camera-fps N] [--camera-format CODE] [--camera-timeout S] [--reconnect S]
                [--litert PATH] [--onnxruntime PATH]
       kseg_run --doctor [MODEL] [--device gpu] [--litert PATH]

Runs a kseg .tflite or .onnx model on an image, a folder, a video or a camera: 0, /dev/video0, csi:0
(Jetson), a stream (rtsp://..., http://...) or a GStreamer pipeline.

  --out DIR       output folder (default: overlays)
  --save-masks    also write class ids as PNG, to DIR/masks
  --no-overlays   do not draw or write overlays
  --json FILE     write one JSON object per frame, with drivable share, lane offset and free
                  distance, to FILE; - for stdout, with the summary on stderr
  --rows ROW...   image rows in which --json measures the lane, as shares of the frame's height from
                  the top (default: 0.6 0.8)
  --ego CLASS     class of the lane we drive in (default: direct; all drivable classes in a model
                  without it)
  --frames N      stop after this many frames
  --repeat N      run a file or folder N times, write nothing, report memory
  --timing        print the time of each stage of a frame, without decoding and writing
  --device D      cpu (default); gpu: run the complete model on the GPU or fail; auto: use the GPU
                  if it works, else the CPU, with a message
  --recheck S     compare the GPU with the CPU every S seconds (default: 30; 0: only at the start)
  --threads N     CPU threads (default: the runtime's choice)
  --camera-size WxH       frame size to ask a V4L2 or csi camera for, such as 1280x720
  --camera-fps N          frame rate to ask it for
  --camera-format CODE    pixel format to ask a V4L2 camera for, such as MJPG or YUYV
  --camera-timeout S      seconds a camera may take to open, and then for each frame (default: 10)
  --reconnect S   seconds to wait for a lost camera (default: 60)
  --litert PATH   libLiteRt.so or its folder (default: $KSEG_LITERT, then the linker's search path)
  --onnxruntime PATH      for an .onnx: libonnxruntime.so or its folder (default:
                  $KSEG_ONNXRUNTIME, then the linker's search path); its GPU is TensorRT, or CUDA
  --doctor        check LiteRT, CPU, GPU and, with MODEL, that CPU and GPU agree

SIGINT (Ctrl-C) and SIGTERM end the run after the current frame: the video is completed and the
summary is printed. A second signal ends it at once.

Exit codes: 0 done, or stopped by a signal; 2 bad input, or no such device; 3 a camera or a GPU was
lost during the run (what was written until then is kept). --doctor: 0 everything that this machine
should do works; 1 something does not (no LiteRT, a GPU that crashes or disagrees with the CPU, or
no GPU with --device gpu); 2 bad input.
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

// "1280x720".
bool read_size(const std::string& text, CameraOptions& to) {
  const std::size_t x = text.find('x');
  return x != std::string::npos && read_count(text.substr(0, x).c_str(), to.width) &&
         read_count(text.substr(x + 1).c_str(), to.height) && to.width <= 32768 &&
         to.height <= 32768;
}

// Sets a camera's flag. False: it is none.
Result<bool> set_camera_flag(CameraOptions& camera, const std::string& name, const char* value) {
  const bool known = name == "--camera-size" || name == "--camera-fps" ||
                     name == "--camera-format" || name == "--camera-timeout" ||
                     name == "--reconnect";
  if (!known) return false;
  if (value == nullptr) return Error{"argument " + name + ": expected one argument"};
  const std::string given = name + " " + value;
  if (name == "--camera-size" && !read_size(value, camera)) {
    return Error{given + ": expected WIDTHxHEIGHT, such as 1280x720"};
  }
  if (name == "--camera-fps" && !(read_seconds(value, camera.rate) && camera.rate > 0)) {
    return Error{given + ": expected frames per second, above 0"};
  }
  if (name == "--camera-timeout" &&
      !(read_seconds(value, camera.timeout_s) && camera.timeout_s > 0)) {
    return Error{given + ": expected seconds, above 0"};
  }
  if (name == "--reconnect" && !read_seconds(value, camera.reconnect_s)) {
    return Error{given + ": expected seconds, at least 0"};
  }
  if (name == "--camera-format") camera.format = value;
  if (name == "--camera-format" && camera.format.size() != 4) {
    return Error{given + ": expected four characters, such as MJPG"};
  }
  return true;
}

// Sets the flag `name` to `value` (null: no argument follows). Returns whether it used the value.
Result<bool> set_flag(Arguments& arguments, const std::string& name, const char* value) {
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
                            : name == "--onnxruntime" ? &arguments.onnxruntime
                            : name == "--json"   ? &arguments.json
                                                 : nullptr;
  int* const count = name == "--threads"  ? &arguments.threads
                     : name == "--frames" ? &arguments.frames
                     : name == "--repeat" ? &arguments.repeat
                                          : nullptr;
  const bool ego = name == "--ego", recheck = name == "--recheck";
  if (text == nullptr && count == nullptr && !ego && !recheck) {
    const auto of_camera = set_camera_flag(arguments.camera, name, value);
    if (!of_camera || *of_camera) return of_camera;
    return Error{"unrecognized argument: " + name};
  }
  if (value == nullptr) return Error{"argument " + name + ": expected one argument"};
  if (text != nullptr) *text = value;
  if (ego) arguments.ego = value;
  if (count != nullptr && !read_count(value, *count)) {
    return Error{name + " " + value + ": expected at least 1"};
  }
  if (recheck && !read_seconds(value, arguments.recheck_s)) {
    return Error{name + " " + value + ": expected seconds, at least 0"};
  }
  return true;
}

// Reads the numbers from argv[at] to the next flag. Returns how many.
Result<int> read_rows(Arguments& arguments, int argc, char** argv, int at) {
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
                   " is not a number; put --rows after MODEL and INPUT"};
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
      const auto count = read_rows(arguments, argc, argv, i + 1);
      if (!count) return count.error();
      i += *count;
      continue;
    }
    const auto used_value = set_flag(arguments, name, i + 1 < argc ? argv[i + 1] : nullptr);
    if (!used_value) return used_value.error();
    i += *used_value ? 1 : 0;
  }
  const std::size_t given = arguments.positional.size();
  if (!arguments.help && (arguments.doctor ? given > 1 : given != 2)) {
    return Error{"expected MODEL and INPUT; see kseg_run --help"};
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
