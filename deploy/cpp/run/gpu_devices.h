// The GPUs that Vulkan and OpenCL report.
#pragma once

#include <string>

namespace kseg {

struct GpuDevices {
  std::string names;    // "A, B (software)"; empty: there are none.
  std::string problem;  // Why there are none, in a few words.

  const std::string& text() const { return names.empty() ? problem : names; }
};

// Each queries its library, loaded at run time, in a child process.
GpuDevices vulkan_devices();
GpuDevices opencl_devices();

}  // namespace kseg
