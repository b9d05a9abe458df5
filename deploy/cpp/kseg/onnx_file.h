// Finds the contract inside an .onnx: one protobuf message, ModelProto, of which only the top level
// is read (metadata_props). Written by hand, as the reader of .tflite is.
#pragma once

#include <string>
#include <string_view>

#include "kseg/result.h"
#include "kseg/tflite_file.h"

namespace kseg {

// Whether a file looks like .onnx (its format has no magic number). Not so for a .tflite.
bool is_onnx(const Bytes& file);

// Returns the contract's JSON text, a view into `onnx`, which may hold any bytes. Errors start with
// `path`.
Result<std::string_view> onnx_contract_text(const Bytes& onnx, const std::string& path);

}  // namespace kseg
