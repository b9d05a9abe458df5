#include "run/doctor.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "kseg/litert.h"
#include "kseg/tflite_file.h"
#include "run/checked_segmenter.h"
#include "run/child_process.h"
#include "run/gpu_devices.h"

namespace kseg {
namespace {

constexpr int kProblem = 1;  // Exit code, as of kseg.doctor.
constexpr int kFrames = 10;
constexpr unsigned kGpuSeconds = 300;  // Compiling shaders takes long on a software GPU.

// A frame of sky, road and noise, the same as kseg.doctor draws, so that both print the same
// checksum.
Image synthetic_frame(Size size, int number) {
  Image frame;
  frame.resize(size, 3);
  std::uint32_t random = 12345U + static_cast<std::uint32_t>(number);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const bool sky = 2 * y < size.height;
      const int centre = size.width * (number + 5) / 20;
      const bool road = !sky && std::abs(x - centre) < y - size.height / 3;
      for (int c = 0; c < 3; ++c) {
        random = random * 1664525U + 1013904223U;
        const int base = sky ? 150 + 30 * c : road ? 90 + 5 * number : 60 + (c == 1 ? 60 : 0);
        const int noise = static_cast<int>(random >> 28);
        frame.row(y)[3 * x + c] = static_cast<std::uint8_t>(std::min(base + noise, 255));
      }
    }
  }
  return frame;
}

struct Predictions {
  std::vector<std::uint8_t> ids;  // Class ids of all frames, concatenated.
  double median_ms = 0;
};

Result<Predictions> predict(Segmenter& segmenter) {
  Predictions predictions;
  std::vector<double> times_ms;
  Image class_map;
  for (int number = 0; number < kFrames; ++number) {
    const Image frame = synthetic_frame(segmenter.contract().input_size, number);
    const auto start = std::chrono::steady_clock::now();
    const Status done =
        segmenter.run_fitted({frame.data.data(), frame.size, frame.row_bytes()}, class_map);
    if (!done) return done.error();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    times_ms.push_back(time.count());
    predictions.ids.insert(predictions.ids.end(), class_map.data.begin(), class_map.data.end());
  }
  std::sort(times_ms.begin(), times_ms.end());
  predictions.median_ms = times_ms[times_ms.size() / 2];
  return predictions;
}

void print_cpu() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, name, flags;
  while (std::getline(file, line) && (name.empty() || flags.empty())) {
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.rfind("model name", 0) == 0) name = line.substr(colon + 2);
    if (line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0) flags = line.substr(colon);
  }
  std::string features;
  for (const char* feature :
       {"ssse3", "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_fp16",
        "avx_vnni", "avx_vnni_int8", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm", "bf16",
        "sve", "sve2", "sme"}) {
    if ((flags + " ").find(" " + std::string(feature) + " ") != std::string::npos) {
      features += std::string(" ") + feature;
    }
  }
  std::printf("CPU       %s, %u threads:%s\n", name.empty() ? "unnamed" : name.c_str(),
              std::thread::hardware_concurrency(),
              features.empty() ? " no known feature" : features.c_str());
}

void print_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  double kib = 0, total_mb = 0, available_mb = 0;
  while (file >> key >> kib && std::getline(file, unit)) {
    if (key == "MemTotal:") total_mb = kib * 1024 / 1e6;
    if (key == "MemAvailable:") available_mb = kib * 1024 / 1e6;
  }
  std::printf("memory    %.0f MB, %.0f MB free\n", total_mb, available_mb);
}

// Drivers that the Vulkan loader considers.
std::vector<std::string> vulkan_drivers() {
  namespace fs = std::filesystem;
  std::vector<std::string> drivers;
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) {
    const char* value = std::getenv(variable);
    std::stringstream list(value != nullptr ? value : "");
    for (std::string path; std::getline(list, path, ':');) drivers.push_back(path);
    if (!drivers.empty()) return drivers;
  }
  const char* home = std::getenv("HOME");
  for (const std::string& folder :
       {std::string("/etc/vulkan/icd.d"), std::string("/usr/local/share/vulkan/icd.d"),
        std::string("/usr/share/vulkan/icd.d"),
        std::string(home != nullptr ? home : "") + "/.local/share/vulkan/icd.d"}) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() == ".json") drivers.push_back(it->path().string());
    }
  }
  return drivers;
}

void print_devices(const GpuDevices& vulkan, const GpuDevices& opencl) {
  std::string drivers;
  for (const std::string& path : vulkan_drivers()) drivers += " " + path;
  std::printf("Vulkan    %s; drivers:%s\nOpenCL    %s\n", vulkan.text().c_str(),
              drivers.empty() ? " none" : drivers.c_str(), opencl.text().c_str());
}

// What the child process that tries the GPU writes to a file for its parent.
struct GpuReport {
  std::vector<std::string> accelerators;
  std::string error;    // The GPU cannot run the model.
  std::string failure;  // It has run it, and predicts no class. Both empty: `predictions` count.
  Predictions predictions;
};

void write_report(const GpuReport& report, std::FILE* file) {
  for (const std::string& name : report.accelerators) {
    std::fprintf(file, "accelerator %s\n", name.c_str());
  }
  std::fprintf(file, "error %s\nfailure %s\nmedian_ms %f\nids\n", report.error.c_str(),
               report.failure.c_str(), report.predictions.median_ms);
  const auto& ids = report.predictions.ids;
  if (!ids.empty()) std::fwrite(ids.data(), 1, ids.size(), file);
}

GpuReport read_report(std::FILE* file) {
  GpuReport report;
  char line[4096];
  while (std::fgets(line, sizeof line, file) != nullptr && std::strcmp(line, "ids\n") != 0) {
    std::string text(line);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    const std::size_t space = text.find(' ');
    const std::string value = space == std::string::npos ? "" : text.substr(space + 1);
    if (text.rfind("accelerator ", 0) == 0) report.accelerators.push_back(value);
    if (text.rfind("error ", 0) == 0) report.error = value;
    if (text.rfind("failure ", 0) == 0) report.failure = value;
    if (text.rfind("median_ms ", 0) == 0) report.predictions.median_ms = std::atof(value.c_str());
  }
  std::uint8_t block[4096];
  for (std::size_t got; (got = std::fread(block, 1, sizeof block, file)) > 0;) {
    report.predictions.ids.insert(report.predictions.ids.end(), block, block + got);
  }
  return report;
}

GpuReport try_gpu(const std::string& model, const SegmenterOptions& options) {
  GpuReport report;
  SegmenterOptions gpu = options;
  gpu.accelerator = Accelerator::kGpu;
  const auto litert = LiteRt::open(options.litert, true);
  if (litert) report.accelerators = (*litert)->accelerators();
  if (!litert || model.empty()) {
    report.error = litert ? "no model given" : litert.error().message;
    return report;
  }
  auto segmenter = Segmenter::load(model, gpu);
  if (!segmenter) {
    report.error = segmenter.error().message;
    return report;
  }
  auto predictions = predict(*segmenter);
  if (predictions) {
    report.predictions = std::move(*predictions);
  } else {
    report.failure = predictions.error().message;
  }
  return report;
}

// Tries the GPU in a child process. `failure`: how that ended, if it failed.
GpuReport try_gpu_in_child_process(const std::string& model, const SegmenterOptions& options,
                                   std::string& failure) {
  std::FILE* file = std::tmpfile();
  failure = run_in_child_process(file, kGpuSeconds,
                                 [&] { write_report(try_gpu(model, options), file); });
  GpuReport report;
  if (file != nullptr) {
    report = read_report(file);
    std::fclose(file);
  }
  return report;
}

bool any_contains(const std::vector<std::string>& names, const char* word) {
  return std::any_of(names.begin(), names.end(), [word](const std::string& name) {
    return name.find(word) != std::string::npos;
  });
}

// Prints which profiles of kseg.export can run here, judged by what loads. Whether the results are
// right can only be checked with a model.
void print_profiles(const LiteRt& litert, const GpuReport& gpu, const std::string& failure,
                    const GpuDevices& vulkan, const GpuDevices& opencl) {
  const bool cpu_loads = any_contains(litert.accelerators(), "Cpu");
  const bool gpu_loads = any_contains(gpu.accelerators, "GPU");
  std::string reason;
  if (!failure.empty()) {
    reason = "its driver: " + failure;
  } else if (!gpu_loads) {
    reason = "LiteRT's GPU accelerator does not load (libLiteRtWebGpuAccelerator.so)";
  } else if (vulkan.names.empty()) {
    reason = "no Vulkan device: " + vulkan.problem;
  }
  const std::string needs = "TFLite's GPU delegate is not part of LiteRT's library; an app that "
                            "includes it needs ";
  const std::string opencl_here = opencl.names.empty() ? opencl.problem : opencl.names;
  const auto print = [](const char* name, bool loads, const std::string& words) {
    std::printf("%-12s%-8s%s\n", name, loads ? "loads" : "no", words.c_str());
  };
  std::printf("\nprofile     here\n");
  const std::string unchecked = "pass a MODEL to check its results";
  print("cpu", cpu_loads, cpu_loads ? unchecked : "LiteRT's CPU accelerator does not load");
  print("gpu", reason.empty(), reason.empty() ? "on " + vulkan.names + "; " + unchecked : reason);
  print("gpu-classic", false, needs + "OpenCL, here " + opencl_here);
  print("gpu-gl", false, needs + "OpenGL ES 3.1");
  std::printf("\n");
}

int judge_gpu(const GpuReport& gpu, const std::string& failure, const Predictions& cpu,
              bool need_gpu) {
  if (!failure.empty()) {
    std::printf("GPU       %s; use --device cpu\n", failure.c_str());
    return kProblem;
  }
  if (!gpu.error.empty()) {
    std::printf("GPU       not usable: %s\n", gpu.error.c_str());
    return need_gpu ? kProblem : 0;
  }
  if (!gpu.failure.empty()) {
    std::printf("GPU       %s: WRONG, use --device cpu\n", gpu.failure.c_str());
    return kProblem;
  }
  std::size_t equal = 0;
  const std::size_t count = std::min(cpu.ids.size(), gpu.predictions.ids.size());
  for (std::size_t i = 0; i < count; ++i) equal += cpu.ids[i] == gpu.predictions.ids[i] ? 1U : 0U;
  const double agreement =
      static_cast<double>(equal) / static_cast<double>(std::max<std::size_t>(cpu.ids.size(), 1));
  const bool right = agreement >= kMinGpuAgreement && cpu.ids.size() == gpu.predictions.ids.size();
  std::printf("GPU       %d frames, median %.1f ms; agrees with the CPU on %.3f %% of pixels "
              "(limit %.1f %%): %s\n",
              kFrames, gpu.predictions.median_ms, 100 * agreement, 100 * kMinGpuAgreement,
              right ? "right" : "WRONG, use --device cpu");
  return right ? 0 : kProblem;
}

}  // namespace

int run_doctor(const std::string& model, const SegmenterOptions& options, bool need_gpu) {
  std::string failure;
  // Before LiteRT starts threads here: fork() copies only the calling thread.
  const GpuReport gpu = try_gpu_in_child_process(model, options, failure);
  const GpuDevices vulkan = vulkan_devices(), opencl = opencl_devices();
  const auto litert = LiteRt::open(options.litert, false);
  if (!litert) {
    std::fprintf(stderr, "error: %s\n", litert.error().message.c_str());
    return kProblem;
  }
  std::printf("LiteRT    %s, %s\n", (*litert)->version().c_str(), (*litert)->path().c_str());
  std::string names;
  for (const std::string& name : gpu.accelerators) names += (names.empty() ? "" : ", ") + name;
  std::printf("loads     %s\n", names.empty() ? "no accelerator" : names.c_str());
  print_cpu();
  print_memory();
  print_devices(vulkan, opencl);
  print_profiles(**litert, gpu, failure, vulkan, opencl);
  if (model.empty()) {
    if (!failure.empty()) std::printf("GPU       %s\n", failure.c_str());
    return failure.empty() ? 0 : kProblem;
  }
  SegmenterOptions cpu = options;
  cpu.accelerator = Accelerator::kCpu;
  auto segmenter = Segmenter::load(model, cpu);
  const auto predictions =
      segmenter ? predict(*segmenter) : Result<Predictions>(segmenter.error());
  if (!predictions) {
    std::fprintf(stderr, "error: %s\n", predictions.error().message.c_str());
    return 2;
  }
  const Contract& contract = segmenter->contract();
  std::printf("model     %s, %s, for %s, kseg %s\n", contract.model.c_str(),
              contract.precision.c_str(), contract.profile.c_str(), contract.kseg_version.c_str());
  std::printf("CPU       %d frames, median %.1f ms, checksum %08x\n", kFrames,
              predictions->median_ms, crc32(predictions->ids.data(), predictions->ids.size()));
  return judge_gpu(gpu, failure, *predictions, need_gpu);
}

}  // namespace kseg
