#include "run/gpu_devices.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "run/child_process.h"

namespace kseg {
namespace {

constexpr unsigned kSeconds = 30;
constexpr std::uint32_t kMaxDevices = 64;

// The subset of Vulkan 1.0 and OpenCL 1.0 that is used, as declared by their headers on 64-bit
// machines.
constexpr std::int32_t kVulkanInstanceInfo = 1, kVulkanCpu = 4;
constexpr std::uint64_t kOpenClAll = 0xFFFFFFFF, kOpenClCpu = 2;
constexpr std::uint32_t kOpenClType = 0x1000, kOpenClName = 0x102B;

struct VulkanInstanceInfo {
  std::int32_t type = kVulkanInstanceInfo;
  const void* next = nullptr;
  std::uint32_t flags = 0;
  const void* application = nullptr;
  std::uint32_t layer_count = 0;
  const char* const* layers = nullptr;
  std::uint32_t extension_count = 0;
  const char* const* extensions = nullptr;
};

struct VulkanProperties {
  std::uint32_t versions_and_ids[4];
  std::int32_t type;
  char name[256];
  char rest[2048];  // The real struct has 824 bytes in total.
};

using VkCreateInstance = std::int32_t(const VulkanInstanceInfo*, const void*, void**);
using VkEnumerate = std::int32_t(void*, std::uint32_t*, void**);
using VkGetProperties = void(void*, VulkanProperties*);
using ClGetPlatforms = std::int32_t(std::uint32_t, void**, std::uint32_t*);
using ClGetDevices = std::int32_t(void*, std::uint64_t, std::uint32_t, void**, std::uint32_t*);
using ClGetInfo = std::int32_t(void*, std::uint32_t, std::size_t, void*, std::size_t*);

template <typename Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

void append(std::string& names, const char* name, bool software) {
  names += std::string(names.empty() ? "" : ", ") + name + (software ? " (software)" : "");
}

GpuDevices query_vulkan() {
  void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {"", "no library (libvulkan.so.1)"};
  const auto create = find<VkCreateInstance>(library, "vkCreateInstance");
  const auto enumerate = find<VkEnumerate>(library, "vkEnumeratePhysicalDevices");
  const auto describe = find<VkGetProperties>(library, "vkGetPhysicalDeviceProperties");
  if (!create || !enumerate || !describe) return {"", "libvulkan.so.1 is not a Vulkan loader"};
  const VulkanInstanceInfo info;
  void* instance = nullptr;
  if (create(&info, nullptr, &instance) != 0) return {"", "no working driver"};
  std::vector<void*> handles(kMaxDevices);
  std::uint32_t count = kMaxDevices;
  if (enumerate(instance, &count, handles.data()) < 0) return {"", "no working driver"};
  GpuDevices devices{"", "no device"};
  for (std::uint32_t i = 0; i < count; ++i) {
    VulkanProperties properties{};
    describe(handles[i], &properties);
    properties.name[sizeof properties.name - 1] = '\0';
    append(devices.names, properties.name, properties.type == kVulkanCpu);
  }
  return devices;
}

GpuDevices query_opencl() {
  void* library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  // The name on Android, and of Mali's driver on Linux.
  if (library == nullptr) library = dlopen("libOpenCL.so", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {"", "no library (libOpenCL.so)"};
  const auto get_platforms = find<ClGetPlatforms>(library, "clGetPlatformIDs");
  const auto get_devices = find<ClGetDevices>(library, "clGetDeviceIDs");
  const auto get_info = find<ClGetInfo>(library, "clGetDeviceInfo");
  if (!get_platforms || !get_devices || !get_info) return {"", "libOpenCL.so is not OpenCL"};
  std::vector<void*> platforms(kMaxDevices), handles(kMaxDevices);
  std::uint32_t platform_count = 0;
  if (get_platforms(kMaxDevices, platforms.data(), &platform_count) != 0 || platform_count == 0) {
    return {"", "no platform"};
  }
  GpuDevices devices{"", "no device"};
  for (std::uint32_t i = 0; i < platform_count && i < kMaxDevices; ++i) {
    std::uint32_t count = 0;
    if (get_devices(platforms[i], kOpenClAll, kMaxDevices, handles.data(), &count) != 0) continue;
    for (std::uint32_t k = 0; k < count && k < kMaxDevices; ++k) {
      char name[1024] = "unnamed";
      std::uint64_t type = 0;
      get_info(handles[k], kOpenClName, sizeof name - 1, name, nullptr);
      get_info(handles[k], kOpenClType, sizeof type, &type, nullptr);
      append(devices.names, name, (type & kOpenClCpu) != 0);
    }
  }
  return devices;
}

GpuDevices query_in_child_process(GpuDevices (*query)()) {
  std::FILE* file = std::tmpfile();
  const std::string failure = run_in_child_process(file, kSeconds, [file, query] {
    const GpuDevices devices = query();
    std::fprintf(file, "%s\n%s\n", devices.names.c_str(), devices.problem.c_str());
  });
  GpuDevices devices;
  char line[4096];
  for (std::string* to : {&devices.names, &devices.problem}) {
    if (failure.empty() && std::fgets(line, sizeof line, file) != nullptr) *to = line;
    if (!to->empty() && to->back() == '\n') to->pop_back();
  }
  if (file != nullptr) std::fclose(file);
  if (!failure.empty()) devices.problem = failure;
  return devices;
}

}  // namespace

GpuDevices vulkan_devices() { return query_in_child_process(query_vulkan); }

GpuDevices opencl_devices() { return query_in_child_process(query_opencl); }

}  // namespace kseg
