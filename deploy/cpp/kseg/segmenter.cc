#include "kseg/segmenter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kseg/litert.h"
#include "kseg/onnx_file.h"
#include "kseg/onnxruntime.h"

namespace kseg {
namespace {

constexpr int kMaxFrameSide = 32768;
constexpr std::int64_t kMaxScaledPixels = std::int64_t{1} << 26;

std::string text(Size size) {
  return "(" + std::to_string(size.height) + ", " + std::to_string(size.width) + ")";
}

// Fails unless a graph's input and output match its contract.
Status check_graph(const Contract& contract, const Graph& graph, const std::string& path) {
  const auto [height, width] = contract.input_size;
  const std::vector<int> input{1, height, width, 3};
  std::vector<int> output{1, height, width};
  // There may be more channels than classes: they fill up the GPU's slices of 4.
  const int classes = static_cast<int>(contract.classes.size());
  if (contract.output_kind == OutputKind::kLogits && graph.output().shape.size() == 4) {
    output.push_back(std::max(classes, graph.output().shape[3]));
  }
  const bool matches = graph.input().shape == input && graph.output().shape == output &&
                       graph.input().type == contract.input_dtype &&
                       graph.output().type == contract.output_dtype &&
                       (contract.output_kind == OutputKind::kClassMap) == (output.size() == 3);
  if (matches) return Done{};
  return Error{path + ": its contract does not match its graph (" + graph.input().text() + " to " +
               graph.output().text() + "); " + reexport(path)};
}

Status check_frame(const FrameView& frame) {
  const Size size = frame.size;
  if (frame.rgb == nullptr || size.height < 1 || size.width < 1 || size.height > kMaxFrameSide ||
      size.width > kMaxFrameSide || frame.stride < 3 * static_cast<std::size_t>(size.width)) {
    return Error{"a frame of size " + text(size) + " and stride " + std::to_string(frame.stride) +
                 ": expected 1 to " + std::to_string(kMaxFrameSide) + " pixels a side"};
  }
  return Done{};
}

Result<std::unique_ptr<Graph>> open_tflite(Bytes tflite, const SegmenterOptions& options,
                                           const std::string& path) {
  const auto litert = LiteRt::open(options.litert, options.accelerator == Accelerator::kGpu);
  if (!litert) return litert.error();
  return compile_tflite(*litert, std::move(tflite), options.accelerator, options.threads, path);
}

}  // namespace

Result<Segmenter> Segmenter::load(const std::string& path, const SegmenterOptions& options) {
  auto file = read_file(path);
  if (!file) return file.error();
  const bool onnx = is_onnx(*file);
  const auto json_text = onnx ? onnx_contract_text(*file, path) : contract_text(*file, path);
  if (!json_text) return json_text.error();
  auto contract = parse_contract(*json_text, path);
  if (!contract) return contract.error();
  const Status intact = verify_checksum(*file, path);  // Before a runtime reads any of it.
  if (!intact) return intact.error();
  auto graph = onnx ? open_onnx(*file, *contract, options, path)
                    : open_tflite(std::move(*file), options, path);
  if (!graph) return graph.error();
  const Status matches = check_graph(*contract, **graph, path);
  if (!matches) return matches.error();
  return Segmenter(std::move(*contract), std::move(*graph));
}

Segmenter::Segmenter(Contract contract, std::unique_ptr<Graph> graph)
    : contract_(std::move(contract)), graph_(std::move(graph)) {
  if (contract_.input_dtype == DataType::kFloat32) input_.resize(graph_->input().bytes() / 4);
  output_.resize(graph_->output().bytes());
}

Status Segmenter::run(const FrameView& frame, Image& class_map, StageLaps* laps) {
  Stopwatch watch;
  StageLaps current;
  const Status valid = check_frame(frame);
  if (!valid) return valid;
  const Size scaled = placement(frame.size, contract_.input_size, contract_.fit).size;
  if (std::int64_t{scaled.height} * scaled.width > kMaxScaledPixels) {
    return Error{"a frame of size " + text(frame.size) + " is too narrow to crop to " +
                 text(contract_.input_size)};
  }
  fit_frame(frame, contract_.input_size, contract_.fit, contract_.pad_value, fitted_);
  current.fit = watch.lap();
  const Status done = infer({fitted_.data.data(), fitted_.size, fitted_.row_bytes()}, ids_);
  if (!done) return done;
  current.inference = watch.lap();
  unfit_class_map(ids_, frame.size, contract_.fit, class_map);
  current.unfit = watch.lap();
  if (laps != nullptr) *laps = current;
  return Done{};
}

Status Segmenter::run_fitted(const FrameView& frame, Image& class_map) {
  const Status valid = check_frame(frame);
  if (!valid) return valid;
  if (frame.size != contract_.input_size) {
    return Error{"a fitted frame of size " + text(frame.size) + ": the model needs " +
                 text(contract_.input_size)};
  }
  return infer(frame, class_map);
}

Status Segmenter::infer(const FrameView& fitted, Image& class_map) {
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(fitted.size.width);
  const auto row = [&fitted](int y) {
    return fitted.rgb + static_cast<std::size_t>(y) * fitted.stride;
  };
  const void* input = fitted.rgb;
  if (contract_.input_dtype == DataType::kFloat32) {
    float* to = input_.data();
    for (int y = 0; y < fitted.size.height; ++y) to = std::copy(row(y), row(y) + row_bytes, to);
    input = input_.data();
  } else if (fitted.stride != row_bytes) {
    fitted_.resize(fitted.size, 3);
    for (int y = 0; y < fitted.size.height; ++y) std::memcpy(fitted_.row(y), row(y), row_bytes);
    input = fitted_.data.data();
  }
  const Status done = graph_->run(input, output_.data());
  if (!done) return done;
  class_map.resize(contract_.input_size, 1);
  if (contract_.output_kind == OutputKind::kClassMap) return read_class_map(class_map);
  return argmax_logits(class_map);
}

Status Segmenter::read_class_map(Image& class_map) const {
  const std::size_t classes = contract_.classes.size();
  std::size_t invalid = 0;
  for (std::size_t i = 0; i < class_map.data.size(); ++i) {
    std::int32_t id = 0;
    if (contract_.output_dtype == DataType::kUint8) {
      id = output_[i];
    } else {
      std::memcpy(&id, output_.data() + 4 * i, 4);
    }
    invalid += id < 0 || static_cast<std::size_t>(id) >= classes;
    class_map.data[i] = static_cast<std::uint8_t>(id);
  }
  if (invalid == 0) return Done{};
  return Error{"the model predicts no class at " + std::to_string(invalid) +
               " pixels (its logits are not finite, or the device computes wrongly)"};
}

Status Segmenter::argmax_logits(Image& class_map) const {
  const std::size_t channels = static_cast<std::size_t>(graph_->output().shape[3]);
  const std::size_t classes = contract_.classes.size();
  std::vector<float> logits(classes);
  std::size_t invalid = 0;
  for (std::size_t i = 0; i < class_map.data.size(); ++i) {
    std::memcpy(logits.data(), output_.data() + 4 * i * channels, 4 * classes);
    const auto best = std::max_element(logits.begin(), logits.end());  // The first of equal maxima.
    // NaN is larger than nothing: unchecked, it would become class 0, the lane we drive in.
    const bool has_nan = std::any_of(logits.begin(), logits.end(), [](float x) { return x != x; });
    invalid += has_nan || !std::isfinite(*best);
    class_map.data[i] = static_cast<std::uint8_t>(best - logits.begin());
  }
  if (invalid == 0) return Done{};
  return Error{"the model's logits are not finite at " + std::to_string(invalid) + " pixels"};
}

}  // namespace kseg
