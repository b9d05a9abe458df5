#include "run/checked_segmenter.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace kseg {
namespace {

constexpr double kRetryS = 1;  // After a frame that was passed over.
constexpr int kLowestPriority = 19;

void report_fallback(const std::string& reason) {
  std::fprintf(stderr, "no GPU: %s; running on the CPU\n", reason.c_str());
}

std::string format(const char* text, double value) {
  char out[96];
  std::snprintf(out, sizeof out, text, value);
  return out;
}

// Lets this thread wait for others. (Linux has a priority per thread.)
void lower_priority() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kLowestPriority);
}

}  // namespace

Result<CheckedSegmenter> CheckedSegmenter::open(const std::string& model,
                                                SegmenterOptions options,
                                                const std::string& device, double recheck_s) {
  std::optional<Segmenter> gpu;
  if (device != "cpu") {
    options.accelerator = Accelerator::kGpu;
    auto loaded = Segmenter::load(model, options);
    if (!loaded && device == "gpu") return loaded.error();
    if (loaded) {
      gpu.emplace(std::move(*loaded));
    } else {
      report_fallback(loaded.error().message);
    }
  }
  options.accelerator = Accelerator::kCpu;
  auto cpu = Segmenter::load(model, options);
  if (!cpu) return cpu.error();
  return CheckedSegmenter(model, std::move(gpu), std::move(*cpu), device == "auto", recheck_s);
}

CheckedSegmenter::CheckedSegmenter(std::string model, std::optional<Segmenter> gpu, Segmenter cpu,
                                   bool may_fall_back, double recheck_s)
    : model_(std::move(model)),
      gpu_(std::move(gpu)),
      cpu_(std::make_shared<Segmenter>(std::move(cpu))),
      may_fall_back_(may_fall_back),
      used_gpu_(gpu_.has_value()),
      recheck_s_(recheck_s) {}

Status CheckedSegmenter::run(const FrameView& frame, Image& class_map, StageLaps& laps) {
  if (pending_.valid() && pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    const Status done = finish();
    if (!done) return done;
  }
  if (!gpu_) return cpu_->run(frame, class_map, &laps);
  const Status on_gpu = gpu_->run(frame, class_map, &laps);
  if (!on_gpu) {
    const Status finished = finish();
    if (!finished) return finished;
    const Status on_cpu = cpu_->run(frame, class_map);
    if (!on_cpu || !gpu_) return on_cpu;  // If both fail, the frame shows nothing about the GPU.
    return reject("on the GPU " + on_gpu.error().message);
  }
  if (!trusted_) return compare_first(frame, class_map);
  if (recheck_s_ > 0 && !pending_.valid() && seconds_since(tried_at_) >= wait_s_) {
    const Region region = frame_region(frame.size, contract().input_size, contract().fit);
    pending_ = std::async(std::launch::async, [cpu = cpu_, input = gpu_->fitted(),
                                               ids = gpu_->ids(), region] {
      lower_priority();
      Image expected;
      if (!has_contrast(input, region)) return Comparison{};  // Saves the CPU's work.
      const auto comparison = compare_with_cpu(*cpu, input, ids, region, expected);
      return comparison ? *comparison : Comparison{};
    });
  }
  return Done{};
}

Status CheckedSegmenter::finish() {
  return pending_.valid() ? note(pending_.get()) : Done{};
}

Status CheckedSegmenter::compare_first(const FrameView& frame, Image& class_map) {
  const Fit fit = contract().fit;
  Image expected;
  const auto comparison =
      compare_with_cpu(*cpu_, gpu_->fitted(), gpu_->ids(),
                       frame_region(frame.size, contract().input_size, fit), expected);
  if (!comparison) return comparison.error();  // The frame shows nothing about the GPU.
  const Status done = note(*comparison);
  if (!trusted_) unfit_class_map(expected, frame.size, fit, class_map);
  return done;
}

// Counts a comparison. Rejects the GPU if it failed.
Status CheckedSegmenter::note(const Comparison& comparison) {
  tried_at_ = Clock::now();
  if (!comparison.agreement) {
    ++passed_over_;
    wait_s_ = kRetryS;
    return Done{};
  }
  const double age_s = seconds_since(compared_at_);
  ++compared_;
  last_ = *comparison.agreement;
  lowest_ = std::min(lowest_, last_);
  highest_ = std::max(highest_, last_);
  cpu_ms_ += comparison.cpu_ms;
  compared_at_ = tried_at_;
  wait_s_ = recheck_s_;
  const std::string share = format("%.3f %% of a frame's pixels", 100 * last_);
  if (last_ < kMinGpuAgreement) {
    return reject("the GPU agrees with the CPU on only " + share +
                  format(" (limit %.1f%%)", 100 * kMinGpuAgreement) +
                  (trusted_ ? format(", %.0f s after it agreed; frames since then may be wrong",
                                     age_s)
                            : ""));
  }
  if (!trusted_) std::fprintf(stderr, "GPU: agrees with the CPU on %s\n", share.c_str());
  trusted_ = true;
  return Done{};
}

Status CheckedSegmenter::reject(const std::string& problem) {
  const std::string reason = model_ + ": " + problem;
  if (!may_fall_back_) {
    rejected_ = true;
    return Error{reason + "; use --device cpu"};
  }
  report_fallback(reason);
  gpu_.reset();
  return Done{};
}

double CheckedSegmenter::seconds_since(Clock::time_point time) const {
  return std::chrono::duration<double>(Clock::now() - time).count();
}

std::optional<GpuCheckLine> CheckedSegmenter::last_check() const {
  if (compared_ == 0) return std::nullopt;
  return GpuCheckLine{compared_, last_, seconds_since(compared_at_)};
}

std::string CheckedSegmenter::summary() const {
  if (!used_gpu_) return "";
  std::string line = "GPU compared with the CPU on " + std::to_string(compared_) + " frames";
  if (compared_ > 0) {
    line += format(": %.3f to ", 100 * lowest_) + format("%.3f %% of pixels agree", 100 * highest_) +
            format(", the last %.1f s ago", seconds_since(compared_at_)) +
            format(", %.1f ms each on the CPU", cpu_ms_ / compared_);
  }
  return line + "; " + std::to_string(passed_over_) +
         " frames passed over (one class, or no contrast)";
}

}  // namespace kseg
