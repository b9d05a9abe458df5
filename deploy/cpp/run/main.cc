// kseg_run: the counterpart of deploy/python/run.py in C++.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "kseg/segmenter.h"
#include "run/arguments.h"
#include "run/checked_segmenter.h"
#include "run/doctor.h"
#include "run/frames.h"
#include "run/json_lines.h"
#include "run/systemd_notify.h"
#include "run/stop_signals.h"
#include "run/stage_timing.h"

namespace {

constexpr int kLostCode = 3;
constexpr std::size_t kMaxLatencies = 1 << 16;  // A camera runs without end: the latest are kept.
constexpr int kMaxFailuresInARow = 25;  // Single frames may fail; after these, blame the device.
constexpr int kMaxLoggedFailures = 10;  // Further failures are only counted.

// Resident memory, MiB.
double resident_mib() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// As numpy.percentile, with linear interpolation.
double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

struct Tally {
  int segmented = 0;
  int failed = 0;              // Not decoded or not segmented.
  std::string first_failure;
  std::string device_lost;     // Why no more frames can be segmented, if so.
  std::vector<double> latencies_ms;
  kseg::StageTiming timing;

  void add(double latency_ms) {
    if (latencies_ms.size() < kMaxLatencies) latencies_ms.push_back(0);
    latencies_ms[static_cast<std::size_t>(segmented++) % kMaxLatencies] = latency_ms;
  }

  void fail(const std::string& problem) {
    if (++failed == 1) first_failure = problem;
    if (failed <= kMaxLoggedFailures) {
      std::fprintf(stderr, "skipped: %s\n", problem.c_str());
    } else if (failed == kMaxLoggedFailures + 1) {
      std::fputs("skipped: further frames, which are counted but not listed\n", stderr);
    }
  }
};

// Where class maps go. A null pointer: that output is off.
struct Outputs {
  std::unique_ptr<kseg::FrameWriter> writer;
  std::unique_ptr<kseg::JsonLines> json;
  kseg::LaneMeasures measures;

  // Draws, measures and writes one class map. Fills in the times of drawing and measuring.
  kseg::Status put(kseg::FrameLine& line, kseg::Frame& frame, const kseg::Image& class_map,
                   kseg::FrameTimes& times) {
    kseg::Stopwatch watch;
    if (writer) {
      const auto drawn = writer->draw(class_map, frame.image);
      if (!drawn) return drawn;
      times[kseg::kDrawStage] = watch.lap();
      const auto written = writer->write(frame, class_map);
      if (!written) return written;
      watch.lap();
    }
    if (!json) return kseg::Done{};
    line.measurements = measures.measure(class_map);
    times[kseg::kMeasureStage] = watch.lap();
    const auto age = kseg::Clock::now() - frame.captured;
    line.age_ms = std::chrono::duration<double, std::milli>(age).count();
    return json->put(line);
  }

  std::string text() const {
    if (!writer && !json) return "nothing written";
    return (writer ? writer->text() : "") + (writer && json ? "; " : "") +
           (json ? json->text() : "");
  }
};

// Segments the remaining frames, up to `limit` segmented frames in total (0: no limit). Fails when
// an output cannot be written or the GPU is rejected.
kseg::Status segment(kseg::CheckedSegmenter& segmenter, kseg::FrameSource& frames, Outputs& outputs,
                     int limit, Tally& tally) {
  kseg::Frame frame;
  kseg::Image class_map;
  kseg::FrameLine line;
  int failed_in_a_row = 0;
  while ((limit == 0 || tally.segmented < limit) && kseg::stop_signal() == 0) {
    const auto status = frames.next(frame);
    if (!status) {
      tally.device_lost = status.error().message;
      break;
    }
    if (*status == kseg::FrameStatus::kEnd) break;
    if (*status == kseg::FrameStatus::kCorrupt) {
      tally.fail(frame.name);
      continue;
    }
    line.frame = frame.number;
    line.name = frame.name;
    line.time_s = frame.time_s;
    line.dropped = frames.dropped();
    kseg::Stopwatch watch;
    kseg::StageLaps laps;
    const auto done =
        segmenter.run({frame.image.data.data(), frame.image.size, frame.image.row_bytes()},
                      class_map, laps);
    if (segmenter.gpu_rejected()) return done;
    if (segmenter.gpu_lost()) {
      tally.device_lost = done.error().message;
      break;
    }
    if (!done) {
      tally.fail(frame.name + ": " + done.error().message);
      if (++failed_in_a_row < kMaxFailuresInARow) continue;
      tally.device_lost = std::to_string(kMaxFailuresInARow) +
                          " frames in a row cannot be segmented (" + done.error().message + ")";
      break;
    }
    failed_in_a_row = 0;
    line.latency_ms = watch.lap().wall_ms;
    line.gpu_check = segmenter.last_check();
    line.device = segmenter.device();
    tally.add(line.latency_ms);
    kseg::FrameTimes times{laps.fit, laps.inference, laps.unfit};
    const auto put = outputs.put(line, frame, class_map, times);
    if (!put) return put;
    tally.timing.add(times);
    // Only after a class map: a faulty camera may deliver nothing that can be decoded.
    kseg::notify_systemd("WATCHDOG=1");
  }
  return kseg::Done{};
}

kseg::Status repeat(kseg::CheckedSegmenter& segmenter, const kseg::Arguments& arguments,
                    Outputs& outputs, Tally& tally) {
  for (int pass = 0; pass < arguments.repeat && kseg::stop_signal() == 0; ++pass) {
    const auto frames = kseg::open_frames(arguments.positional[1], arguments.camera);
    if (!frames) return frames.error();
    const auto done = segment(segmenter, **frames, outputs, arguments.frames, tally);
    if (!done) return done;
    if (!tally.device_lost.empty()) break;
    std::printf("pass %d, %d frames: %.1f MiB\n", pass + 1, tally.segmented, resident_mib());
    std::fflush(stdout);
  }
  return kseg::Done{};
}

// The writer of overlays and masks; null if neither is wanted.
kseg::Result<std::unique_ptr<kseg::FrameWriter>> make_writer(const kseg::Arguments& arguments,
                                                    const kseg::FrameSource& frames,
                                                    const kseg::CheckedSegmenter& segmenter) {
  if (arguments.repeat > 0 || (arguments.no_overlays && !arguments.save_masks)) {
    return std::unique_ptr<kseg::FrameWriter>();
  }
  const auto folder =
      kseg::prepare_folder(arguments.out, arguments.save_masks, arguments.positional[1]);
  if (!folder) return folder.error();
  return kseg::open_frame_writer(
      {arguments.out, frames.rate(), !arguments.no_overlays, arguments.save_masks,
       arguments.threads},
      segmenter.contract().classes);
}

kseg::Result<Outputs> make_outputs(const kseg::Arguments& arguments,
                                   const kseg::FrameSource& frames,
                                   const kseg::CheckedSegmenter& segmenter) {
  auto measures =
      kseg::LaneMeasures::make(segmenter.contract().classes, arguments.rows, arguments.ego);
  if (!measures) return measures.error();
  auto writer = make_writer(arguments, frames, segmenter);
  if (!writer) return writer.error();
  std::unique_ptr<kseg::JsonLines> json;
  if (!arguments.json.empty()) {
    auto lines = kseg::JsonLines::open(arguments.json);
    if (!lines) return lines.error();
    json = std::make_unique<kseg::JsonLines>(std::move(*lines));
  }
  return Outputs{std::move(*writer), std::move(json), std::move(*measures)};
}

void print_summary(Tally& tally, const kseg::CheckedSegmenter& segmenter,
                   const kseg::FrameSource& frames, const std::string& written,
                   const kseg::Arguments& arguments) {
  std::FILE* const file = arguments.json == "-" ? stderr : stdout;
  std::fprintf(file, "%d frames", tally.segmented);
  auto& times = tally.latencies_ms;
  if (!times.empty()) {
    std::sort(times.begin(), times.end());
    std::fprintf(file,
                 ", %.1f / %.1f / %.1f ms (minimum / median / 95 %%) from frame to class map on "
                 "the %s",
                 times.front(), percentile(times, 0.5), percentile(times, 0.95),
                 segmenter.device().c_str());
  }
  std::fprintf(file, "; %s\n", written.c_str());
  const auto times_lost = frames.times_lost();
  if (tally.failed > 0 || times_lost) {
    const int dropped = frames.dropped();
    std::fprintf(file,
                 "%d frames arrived: %d dropped before inference, %d not decoded or not segmented; "
                 "camera lost %d times\n",
                 tally.segmented + tally.failed + dropped, dropped, tally.failed,
                 times_lost.value_or(0));
  }
  const std::string camera = frames.description();
  if (!camera.empty()) std::fprintf(file, "camera: %s\n", camera.c_str());
  if (!segmenter.runtime().empty()) {
    std::fprintf(file, "%s, %s\n", segmenter.runtime().c_str(), segmenter.device().c_str());
  }
  const std::string gpu = segmenter.summary();
  if (!gpu.empty()) std::fprintf(file, "%s\n", gpu.c_str());
  if (kseg::stop_signal() != 0) {
    std::fprintf(file, "stopped by %s\n", kseg::name_of_signal(kseg::stop_signal()));
  }
  if (arguments.timing) tally.timing.print(file, arguments.threads == 1);
  std::fflush(file);
}

kseg::Result<int> run(const kseg::Arguments& arguments) {
  const kseg::SegmenterOptions options{kseg::Accelerator::kCpu, arguments.threads,
                                       arguments.litert, arguments.onnxruntime};
  if (arguments.doctor) {
    const std::string model = arguments.positional.empty() ? "" : arguments.positional[0];
    return kseg::run_doctor(model, options, arguments.device == "gpu");
  }
  kseg::handle_stop_signals();
  const std::string& input = arguments.positional[1];
  const auto frames = kseg::open_frames(input, arguments.camera);
  if (!frames) return frames.error();
  if (!(*frames)->times_lost() && arguments.camera.asks()) {
    return kseg::Error{input + ": not a camera; leave out --camera-size, --camera-fps and "
                               "--camera-format"};
  }
  auto segmenter =
      kseg::CheckedSegmenter::open(arguments.positional[0], options, arguments.device,
                                   arguments.recheck_s);
  if (!segmenter) return segmenter.error();
  auto outputs = make_outputs(arguments, **frames, *segmenter);
  if (!outputs) return outputs.error();
  kseg::notify_systemd("READY=1");
  Tally tally;
  const auto done =
      arguments.repeat > 0
          ? repeat(*segmenter, arguments, *outputs, tally)
          : segment(*segmenter, **frames, *outputs, arguments.frames, tally);
  kseg::notify_systemd("STOPPING=1");
  const std::string written = outputs->text();
  // Before anything else: an incomplete video cannot be read.
  const kseg::Status closed = outputs->writer ? outputs->writer->close() : kseg::Done{};
  if (!done) return done.error();
  const kseg::Status checked = segmenter->finish();
  if (!checked && tally.device_lost.empty()) tally.device_lost = checked.error().message;
  if (tally.segmented == 0 && tally.device_lost.empty() && kseg::stop_signal() == 0) {
    const std::string no_frame = input + ": no frame can be read from it";
    return kseg::Error{tally.failed > 0 ? tally.first_failure : no_frame};
  }
  print_summary(tally, *segmenter, **frames, written, arguments);
  if (!closed) return closed.error();
  if (tally.device_lost.empty()) return 0;
  std::fprintf(stderr, "error: %s\n", tally.device_lost.c_str());
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
  if (!done) std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
  const int code = done ? *done : 2;
  if (kseg::capture_thread_hangs()) {
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}
