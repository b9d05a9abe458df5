// kseg_run: deploy/python/run.py in C++.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kseg/model.h"
#include "run/doctor.h"
#include "run/frames.h"
#include "run/overlay.h"

namespace {

constexpr const char* kUsage =
    R"(usage: kseg_run MODEL INPUT [--out DIR] [--save-masks] [--frames N] [--repeat N]
                [--accelerator cpu|gpu|auto] [--threads N] [--litert PATH]
       kseg_run --doctor [MODEL] [--accelerator gpu] [--litert PATH]

Runs a kseg .tflite on an image, a folder, a video or a camera (0, /dev/...).

  --out DIR          default: overlays
  --save-masks       write class ids as PNG too
  --frames N         stop after this many frames
  --repeat N         run a file or folder N times, write nothing, report memory
  --accelerator A    cpu (default); gpu: all of it or an error; auto: gpu, else cpu, saying so
  --threads N        CPU threads (default: LiteRT's)
  --litert PATH      libLiteRt.so or its folder (default: $KSEG_LITERT, then the linker's search)
  --doctor           check LiteRT, CPU, GPU and, with MODEL, that both answer alike

Exit codes: 0 done, 2 bad input or no such GPU, 3 the doctor found something wrong.
)";

struct Arguments {
  std::vector<std::string> positional;
  std::string out = "overlays", accelerator = "cpu", litert;
  bool save_masks = false, doctor = false, help = false;
  int threads = 0, frames = 0, repeat = 0;
};

kseg::Result<Arguments> parse_arguments(int argc, char** argv) {
  Arguments arguments;
  const auto number = [](const char* value, int& to) {
    char* end = nullptr;
    const long parsed = std::strtol(value, &end, 10);
    to = static_cast<int>(parsed);
    return *end == '\0' && end != value && parsed >= 1 && parsed <= 1000000000;
  };
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    std::string* text = name == "--out"           ? &arguments.out
                        : name == "--accelerator" ? &arguments.accelerator
                        : name == "--litert"      ? &arguments.litert
                                                  : nullptr;
    int* count = name == "--threads"  ? &arguments.threads
                 : name == "--frames" ? &arguments.frames
                 : name == "--repeat" ? &arguments.repeat
                                      : nullptr;
    if ((text != nullptr || count != nullptr) && i + 1 == argc) {
      return kseg::Error{"argument " + name + ": expected one argument"};
    }
    if (text != nullptr) {
      *text = argv[++i];
    } else if (count != nullptr) {
      if (!number(argv[++i], *count)) {
        return kseg::Error{name + " " + argv[i] + ": expected at least 1"};
      }
    } else if (name == "--save-masks") {
      arguments.save_masks = true;
    } else if (name == "--doctor") {
      arguments.doctor = true;
    } else if (name == "--help" || name == "-h") {
      arguments.help = true;
    } else if (name.size() > 1 && name[0] == '-') {
      return kseg::Error{"unrecognized argument: " + name};
    } else {
      arguments.positional.push_back(name);
    }
  }
  const std::size_t given = arguments.positional.size();
  if (!arguments.help && (arguments.doctor ? given > 1 : given != 2)) {
    return kseg::Error{"expected MODEL and INPUT; kseg_run --help shows how"};
  }
  const auto& accelerator = arguments.accelerator;
  if (accelerator != "cpu" && accelerator != "gpu" && accelerator != "auto") {
    return kseg::Error{"--accelerator " + accelerator + ": expected cpu, gpu or auto"};
  }
  return arguments;
}

kseg::Result<kseg::Segmenter> load(const Arguments& arguments, kseg::SegmenterOptions options) {
  const std::string& path = arguments.positional[0];
  if (arguments.accelerator != "cpu") {
    options.accelerator = kseg::Accelerator::kGpu;
    auto segmenter = kseg::Segmenter::load(path, options);
    if (segmenter || arguments.accelerator == "gpu") return segmenter;
    std::fprintf(stderr, "no GPU: %s; running on the CPU\n", segmenter.error().message.c_str());
    options.accelerator = kseg::Accelerator::kCpu;
  }
  return kseg::Segmenter::load(path, options);
}

// Memory in use, MiB.
double resident_mib() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// As numpy.percentile: linear between neighbours.
double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

struct Tally {
  int frames = 0;
  std::vector<double> latencies_ms;
};

// Segments what `frames` has left; `sink` may be null. At most `limit` frames in all, 0: no limit.
kseg::Status segment(kseg::Segmenter& segmenter, kseg::FrameSource& frames, kseg::Sink* sink,
                     int limit, Tally& tally) {
  kseg::Image frame, class_map;
  std::string name;
  while (limit == 0 || tally.frames < limit) {
    const auto more = frames.next(frame, name);
    if (!more) return more.error();
    if (!*more) break;
    const auto start = std::chrono::steady_clock::now();
    const auto done =
        segmenter.run({frame.data.data(), frame.size, frame.row_bytes()}, class_map);
    if (!done) return done;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    // A camera has no end: from here on, old times give way to new ones.
    constexpr std::size_t kKept = 1 << 16;
    if (tally.latencies_ms.size() < kKept) tally.latencies_ms.push_back(0);
    tally.latencies_ms[static_cast<std::size_t>(tally.frames++) % kKept] = took.count();
    if (sink == nullptr) continue;
    kseg::blend(segmenter.contract().classes, class_map, frame);
    const auto put = sink->put(name, frame, class_map);
    if (!put) return put;
  }
  return kseg::Done{};
}

kseg::Status repeat(kseg::Segmenter& segmenter, const Arguments& arguments, Tally& tally) {
  for (int pass = 0; pass < arguments.repeat; ++pass) {
    const auto frames = kseg::open_frames(arguments.positional[1]);
    if (!frames) return frames.error();
    const auto done = segment(segmenter, **frames, nullptr, arguments.frames, tally);
    if (!done) return done;
    std::printf("pass %d, %d frames: %.1f MiB\n", pass + 1, tally.frames, resident_mib());
    std::fflush(stdout);
  }
  return kseg::Done{};
}

kseg::Result<int> run(const Arguments& arguments) {
  const kseg::SegmenterOptions options{kseg::Accelerator::kCpu, arguments.threads,
                                       arguments.litert};
  if (arguments.doctor) {
    const std::string model = arguments.positional.empty() ? "" : arguments.positional[0];
    return kseg::run_doctor(model, options, arguments.accelerator == "gpu");
  }
  const std::string& input = arguments.positional[1];
  const auto frames = kseg::open_frames(input);
  if (!frames) return frames.error();
  auto segmenter = load(arguments, options);
  if (!segmenter) return segmenter.error();
  Tally tally;
  std::string written = "nothing written";
  if (arguments.repeat > 0) {
    const auto done = repeat(*segmenter, arguments, tally);
    if (!done) return done.error();
  } else {
    const auto folder = kseg::prepare_folder(arguments.out, arguments.save_masks, input);
    if (!folder) return folder.error();
    const auto sink = kseg::open_sink(arguments.out, (*frames)->rate(), arguments.save_masks,
                                      segmenter->contract().classes);
    const auto done = segment(*segmenter, **frames, sink.get(), arguments.frames, tally);
    if (!done) return done.error();
    written = sink->text();
  }
  if (tally.frames == 0) {
    return kseg::Error{input + ": opened, but not one frame can be read"};
  }
  std::sort(tally.latencies_ms.begin(), tally.latencies_ms.end());
  std::printf("%d frames, %.1f / %.1f / %.1f ms (minimum / median / 95 %%) from frame to class map "
              "on the %s; %s\n",
              tally.frames, tally.latencies_ms.front(), percentile(tally.latencies_ms, 0.5),
              percentile(tally.latencies_ms, 0.95), name_of(segmenter->accelerator()),
              written.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = parse_arguments(argc, argv);
  if (arguments && arguments->help) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  const auto done = arguments ? run(*arguments) : kseg::Result<int>(arguments.error());
  if (done) return *done;
  std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
  return 2;
}
