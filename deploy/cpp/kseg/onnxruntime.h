// An .onnx on ONNX Runtime, loaded at run time: on the CPU, or on TensorRT or CUDA.
#pragma once

#include <memory>
#include <string>

#include "kseg/contract.h"
#include "kseg/graph.h"
#include "kseg/segmenter.h"
#include "kseg/tflite_file.h"

namespace kseg {

// Opens an .onnx, whose checksum must have been verified. The library is libonnxruntime.so of an
// onnxruntime or onnxruntime-gpu wheel, 1.11 or newer: options.onnxruntime (the file or its
// folder), $KSEG_ONNXRUNTIME, or on the dynamic linker's search path. kGpu takes TensorRT, or else
// CUDA, and fails unless all operators run there. Errors start with `where`.
Result<std::unique_ptr<Graph>> open_onnx(const Bytes& onnx, const Contract& contract,
                                         const SegmenterOptions& options, const std::string& where);

}  // namespace kseg
