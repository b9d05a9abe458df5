/* Stands for an onnxruntime with TensorRT: the real library at REAL_ONNXRUNTIME, whose CPU plays the
 * GPU. FAKE_FAULT: "wrong" (one class everywhere), "no class", "refused". The options of TensorRT go
 * to the file at FAKE_OPTIONS. Positions in OrtApi as in deploy/cpp/kseg/onnxruntime_api.h. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const void* const* (*get_api)(uint32_t); const char* (*version)(void); } Base;

enum { kFunctions = 300, kCreateStatus = 0, kCreateSession = 8, kRun = 9, kMutableData = 51 };
static const void* table[kFunctions];
static const void* const* real;
static const void *tensorrt_options, *tensorrt_session;
static char* names[] = {"TensorrtExecutionProvider", "CPUExecutionProvider"};

static int fault(const char* name) {
  const char* given = getenv("FAKE_FAULT");
  return given && strcmp(given, name) == 0;
}
static void* succeed(void) { return NULL; }
static void* create(void** out) { return *out = names, NULL; }
static void release(void* options) { (void)options; }
static void* providers(char*** out, int* count) { return *out = names, *count = 2, NULL; }
static void* update(void* options, const char* const* keys, const char* const* values, size_t n) {
  FILE* file = getenv("FAKE_OPTIONS") ? fopen(getenv("FAKE_OPTIONS"), "w") : NULL;
  (void)options;
  for (size_t i = 0; file && i < n; ++i) fprintf(file, "%s=%s\n", keys[i], values[i]);
  if (file) fclose(file);
  return NULL;
}
static void* append(const void* options, const void* tensorrt) {
  (void)tensorrt;
  tensorrt_options = options;
  if (!fault("refused")) return NULL;
  return ((void* (*)(int, const char*))real[kCreateStatus])(1, "libnvinfer.so.10 is missing");
}
static void* session(const void* env, const void* data, size_t size, const void* options, void** out) {
  void* (*open)(const void*, const void*, size_t, const void*, void**) = (void*)real[kCreateSession];
  void* status = open(env, data, size, options, out);
  if (options == tensorrt_options) tensorrt_session = *out;
  return status;
}
static void* run(void* session, void* options, const char* const* in, const void* const* inputs,
                 size_t inputs_n, const char* const* out, size_t outputs_n, void** outputs) {
  void* (*inner)(void*, void*, const char* const*, const void* const*, size_t, const char* const*,
                 size_t, void**) = (void*)real[kRun];
  void* status = inner(session, options, in, inputs, inputs_n, out, outputs_n, outputs);
  if (status == NULL && session == tensorrt_session && (fault("wrong") || fault("no class"))) {
    uint8_t* data = NULL;
    ((void* (*)(void*, void**))real[kMutableData])(outputs[0], (void**)&data);
    memset(data, fault("wrong") ? 1 : 255, 72 * 128); /* The golden model's input. */
  }
  return status;
}

static const void* const* get_api(uint32_t version) {
  void* library = dlopen(getenv("REAL_ONNXRUNTIME"), RTLD_NOW | RTLD_LOCAL);
  const Base* (*get_base)(void) = (const Base* (*)(void))dlsym(library, "OrtGetApiBase");
  real = get_base()->get_api(version);
  memcpy(table, real, 220 * sizeof *table);
  table[kCreateSession] = (void*)session;
  table[kRun] = (void*)run;
  table[125] = (void*)providers;
  table[126] = table[130] = table[204] = (void*)succeed;
  table[170] = (void*)append;
  table[171] = table[205] = (void*)create;
  table[172] = (void*)update;
  table[174] = table[208] = (void*)release;
  return table;
}
static const char* version(void) { return "1.0.0-fake"; }
const Base* OrtGetApiBase(void) {
  static const Base base = {get_api, version};
  return &base;
}
