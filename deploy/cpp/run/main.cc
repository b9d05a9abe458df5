// kseg_run: deploy/python/run.py in C++.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>

#include "kseg/model.h"
#include "run/arguments.h"
#include "run/device.h"
#include "run/doctor.h"
#include "run/frames.h"
#include "run/json_lines.h"
#include "run/notify.h"
#include "run/stop.h"
#include "run/timing.h"

namespace {

constexpr int kLostCode = 3;
constexpr std::size_t kKeptLatencies = 1 << 16;  // A camera has no end: old ones give way to new.
constexpr int kFailuresInARow = 25;  // Single frames may fail; after these it is the device.
constexpr int kTold = 10;  // Problems of single frames that are printed; the rest are only counted.

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
  int frames = 0;         // Segmented.
  int failed = 0;         // Not decoded or not segmented.
  std::string problem;    // Of the first that failed.
  std::string lost;       // Why no frame comes any more, if that is so.
  std::vector<double> latencies_ms;
  kseg::Timing timing;

  void add(double latency_ms) {
    if (latencies_ms.size() < kKeptLatencies) latencies_ms.push_back(0);
    latencies_ms[static_cast<std::size_t>(frames++) % kKeptLatencies] = latency_ms;
  }

  void fail(const std::string& why) {
    if (++failed == 1) problem = why;
    if (failed <= kTold) {
      std::fprintf(stderr, "%s; skipped\n", why.c_str());
    } else if (failed == kTold + 1) {
      std::fputs("more are skipped, which are counted and not listed\n", stderr);
    }
  }
};

// Where answers go. A null pointer: nowhere.
struct Outputs {
  std::unique_ptr<kseg::Sink> sink;
  std::unique_ptr<kseg::JsonLines> json;
  kseg::Measure measure;

  // Draws, measures and writes one answer. Fills in what drawing and measuring took.
  kseg::Status put(kseg::FrameLine& line, kseg::Stopwatch& since_it_came, kseg::Image& frame,
                   const kseg::Image& class_map, kseg::FrameTimes& times) {
    kseg::Stopwatch watch;
    if (sink) {
      const auto drawn = sink->draw(class_map, frame);
      if (!drawn) return drawn;
      times[kseg::kDrawStage] = watch.lap();
      const auto written = sink->write(line.name, frame, class_map);
      if (!written) return written;
      watch.lap();
    }
    if (!json) return kseg::Done{};
    line.measured = measure(class_map);
    times[kseg::kMeasureStage] = watch.lap();
    line.age_ms = since_it_came.lap().wall_ms;
    return json->put(line);
  }

  std::string text() const {
    if (!sink && !json) return "nothing written";
    return (sink ? sink->text() : "") + (sink && json ? "; " : "") + (json ? json->text() : "");
  }
};

// Segments what `frames` has left. At most `limit` frames in all, 0: no limit.
// Fails when nothing can be written any more.
kseg::Status segment(kseg::Device& device, kseg::FrameSource& frames, Outputs& outputs,
                     int limit, Tally& tally) {
  kseg::Image frame, class_map;
  kseg::FrameLine line;
  std::string& name = line.name;
  int failed_in_a_row = 0;
  while ((limit == 0 || tally.frames < limit) && kseg::stop_signal() == 0) {
    const auto got = frames.next(frame, name);
    if (!got) {
      tally.lost = got.error().message;
      break;
    }
    if (*got == kseg::Got::kEnd) break;
    if (*got == kseg::Got::kDamaged) {
      tally.fail(name);
      continue;
    }
    line.frame = tally.frames + tally.failed;
    line.time_s = frames.time_s();
    kseg::Stopwatch came, watch;
    kseg::RunTimes run;
    const auto done =
        device.run({frame.data.data(), frame.size, frame.row_bytes()}, class_map, run);
    if (device.refused()) return done;
    if (!done) {
      tally.fail(name + ": " + done.error().message);
      if (++failed_in_a_row < kFailuresInARow) continue;
      tally.lost = std::to_string(kFailuresInARow) + " frames in a row cannot be segmented (" +
                   done.error().message + ")";
      break;
    }
    failed_in_a_row = 0;
    line.latency_ms = watch.lap().wall_ms;
    tally.add(line.latency_ms);
    kseg::FrameTimes times{run.fit, run.inference, run.unfit};
    const auto put = outputs.put(line, came, frame, class_map, times);
    if (!put) return put;
    tally.timing.add(times);
    kseg::notify("WATCHDOG=1");  // With answers alone: a camera may give nothing that is a picture.
  }
  return kseg::Done{};
}

kseg::Status repeat(kseg::Device& device, const kseg::Arguments& arguments,
                    Outputs& outputs, Tally& tally) {
  for (int pass = 0; pass < arguments.repeat && kseg::stop_signal() == 0; ++pass) {
    const auto frames = kseg::open_frames(arguments.positional[1], arguments.reconnect_s);
    if (!frames) return frames.error();
    const auto done = segment(device, **frames, outputs, arguments.frames, tally);
    if (!done) return done;
    if (!tally.lost.empty()) break;
    std::printf("pass %d, %d frames: %.1f MiB\n", pass + 1, tally.frames, resident_mib());
    std::fflush(stdout);
  }
  return kseg::Done{};
}

// Where pictures go; null when none are asked for.
kseg::Result<std::unique_ptr<kseg::Sink>> make_sink(const kseg::Arguments& arguments,
                                                    const kseg::FrameSource& frames,
                                                    const kseg::Device& device) {
  if (arguments.repeat > 0 || (arguments.no_overlays && !arguments.save_masks)) {
    return std::unique_ptr<kseg::Sink>();
  }
  const auto folder =
      kseg::prepare_folder(arguments.out, arguments.save_masks, arguments.positional[1]);
  if (!folder) return folder.error();
  return kseg::open_sink(
      {arguments.out, frames.rate(), !arguments.no_overlays, arguments.save_masks,
       arguments.threads},
      device.contract().classes);
}

kseg::Result<Outputs> make_outputs(const kseg::Arguments& arguments,
                                   const kseg::FrameSource& frames,
                                   const kseg::Device& device) {
  auto measure =
      kseg::Measure::make(device.contract().classes, arguments.rows, arguments.ego);
  if (!measure) return measure.error();
  auto sink = make_sink(arguments, frames, device);
  if (!sink) return sink.error();
  std::unique_ptr<kseg::JsonLines> json;
  if (!arguments.json.empty()) {
    auto lines = kseg::JsonLines::open(arguments.json);
    if (!lines) return lines.error();
    json = std::make_unique<kseg::JsonLines>(std::move(*lines));
  }
  return Outputs{std::move(*sink), std::move(json), std::move(*measure)};
}

void print_summary(Tally& tally, const kseg::Device& device, const kseg::FrameSource& frames,
                   const std::string& written, const kseg::Arguments& arguments) {
  std::FILE* const file = arguments.json == "-" ? stderr : stdout;
  std::fprintf(file, "%d frames", tally.frames);
  auto& times = tally.latencies_ms;
  if (!times.empty()) {
    std::sort(times.begin(), times.end());
    std::fprintf(file,
                 ", %.1f / %.1f / %.1f ms (minimum / median / 95 %%) from frame to class map on "
                 "the %s",
                 times.front(), percentile(times, 0.5), percentile(times, 0.95),
                 name_of(device.accelerator()));
  }
  std::fprintf(file, "; %s\n", written.c_str());
  const auto times_lost = frames.times_lost();
  if (tally.failed > 0 || times_lost) {
    std::fprintf(file, "%d frames came: %d not decoded or not segmented; camera lost %d times\n",
                 tally.frames + tally.failed, tally.failed, times_lost.value_or(0));
  }
  if (kseg::stop_signal() != 0) {
    std::fprintf(file, "stopped by %s\n", kseg::name_of_signal(kseg::stop_signal()));
  }
  if (arguments.timing) tally.timing.print(file, arguments.threads == 1);
  std::fflush(file);
}

kseg::Result<int> run(const kseg::Arguments& arguments) {
  const kseg::SegmenterOptions options{kseg::Accelerator::kCpu, arguments.threads,
                                       arguments.litert};
  if (arguments.doctor) {
    const std::string model = arguments.positional.empty() ? "" : arguments.positional[0];
    return kseg::run_doctor(model, options, arguments.device == "gpu");
  }
  kseg::catch_stop_signals();
  const std::string& input = arguments.positional[1];
  const auto frames = kseg::open_frames(input, arguments.reconnect_s);
  if (!frames) return frames.error();
  auto device = kseg::Device::open(arguments.positional[0], options, arguments.device);
  if (!device) return device.error();
  auto outputs = make_outputs(arguments, **frames, *device);
  if (!outputs) return outputs.error();
  kseg::notify("READY=1");
  Tally tally;
  const auto done =
      arguments.repeat > 0
          ? repeat(*device, arguments, *outputs, tally)
          : segment(*device, **frames, *outputs, arguments.frames, tally);
  kseg::notify("STOPPING=1");
  const std::string written = outputs->text();
  // First of all: a video without its end cannot be read.
  const kseg::Status closed = outputs->sink ? outputs->sink->close() : kseg::Done{};
  if (!done) return done.error();
  if (tally.frames == 0 && tally.lost.empty() && kseg::stop_signal() == 0) {
    const std::string nothing = input + ": opened, but not one frame can be read";
    return kseg::Error{tally.failed > 0 ? tally.problem : nothing};
  }
  print_summary(tally, *device, **frames, written, arguments);
  if (!closed) return closed.error();
  if (tally.lost.empty()) return 0;
  std::fprintf(stderr, "error: %s\n", tally.lost.c_str());
  return kLostCode;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = kseg::parse_arguments(argc, argv);
  if (arguments && arguments->help) {
    std::fputs(kseg::kUsage, stdout);
    return 0;
  }
  const auto done = arguments ? run(*arguments) : kseg::Result<int>(arguments.error());
  if (done) return *done;
  std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
  return 2;
}
