// The GPUs that Vulkan and OpenCL name here.
#pragma once

#include <string>

namespace kseg {

struct Devices {
  std::string names;    // "A, B (software)"; empty: there is none.
  std::string problem;  // Why there is none, in a few words.

  const std::string& text() const { return names.empty() ? problem : names; }
};

// Each asks the library, loaded at run time, in a child process.
Devices vulkan_devices();
Devices opencl_devices();

}  // namespace kseg
