#include "kseg/contract.h"

#include <algorithm>
#include <optional>

#include "kseg/json.h"
#include "kseg/tflite_file.h"

namespace kseg {
namespace {

using Kind = json::Value::Kind;

std::optional<std::int64_t> integer(const json::Value* value, std::int64_t low,
                                    std::int64_t high) {
  if (value == nullptr || value->kind != Kind::kInteger) return {};
  if (value->integer < low || value->integer > high) return {};
  return value->integer;
}

std::string text(const json::Value* value) {
  return value != nullptr && value->kind == Kind::kString ? value->string : std::string();
}

// Reads the members of `document` and remembers the first invalid one.
class Reader {
 public:
  explicit Reader(const json::Value& document) : document_(document) {}

  std::string invalid;

  int integer_of(const char* key, int low, int high) {
    const auto value = integer(document_.find(key), low, high);
    expect(value.has_value(), key);
    return static_cast<int>(value.value_or(low));
  }

  template <typename T>
  T choice(const char* key, std::initializer_list<std::pair<const char*, T>> choices) {
    const std::string given = text(document_.find(key));
    for (const auto& [name, value] : choices) {
      if (given == name) return value;
    }
    expect(false, key);
    return choices.begin()->second;
  }

  Size input_size() {
    const json::Value* value = document_.find("input_size");
    if (value == nullptr || value->kind != Kind::kArray || value->items.size() != 2) {
      expect(false, "input_size");
      return {1, 1};
    }
    const auto height = integer(&value->items[0], 1, kMaxSide);
    const auto width = integer(&value->items[1], 1, kMaxSide);
    expect(height && width, "input_size");
    return {static_cast<int>(height.value_or(1)), static_cast<int>(width.value_or(1))};
  }

  void value_range() {
    const json::Value* value = document_.find("value_range");
    expect(value != nullptr && value->items.size() == 2 && integer(&value->items[0], 0, 0) &&
               integer(&value->items[1], 255, 255),
           "value_range");
  }

  std::vector<ClassLabel> classes() {
    const json::Value* labels = document_.find("labels");
    const json::Value* list = labels != nullptr ? labels->find("classes") : nullptr;
    std::vector<ClassLabel> out;
    if (list != nullptr && list->kind == Kind::kArray && list->items.size() <= 255) {
      for (const json::Value& item : list->items) out.push_back(class_label(item));
    }
    expect(!out.empty(), "labels");
    std::array<bool, 256> used{};
    for (const ClassLabel& label : out) {
      // Ids are 0 to n - 1: each once, and none above.
      const auto id = static_cast<std::size_t>(label.id);
      expect(!used[id] && id < out.size(), "labels");
      used[id] = true;
    }
    return out;
  }

 private:
  void expect(bool valid, const char* key) {
    if (!valid && invalid.empty()) invalid = key;
  }

  ClassLabel class_label(const json::Value& item) {
    ClassLabel label;
    const auto id = integer(item.find("id"), 0, 254);
    const json::Value* color = item.find("color");
    const json::Value* drivable = item.find("drivable");
    expect(id && drivable != nullptr && drivable->kind == Kind::kBool, "labels");
    expect(color != nullptr && color->items.size() == 3, "labels");
    label.id = static_cast<int>(id.value_or(0));
    label.name = text(item.find("name"));
    label.drivable = drivable != nullptr && drivable->boolean;
    for (std::size_t i = 0; color != nullptr && color->items.size() == 3 && i < 3; ++i) {
      const auto value = integer(&color->items[i], 0, 255);
      expect(value.has_value(), "labels");
      label.color[i] = static_cast<std::uint8_t>(value.value_or(0));
    }
    return label;
  }

  const json::Value& document_;
};

}  // namespace

const char* name_of(DataType type) {
  switch (type) {
    case DataType::kUint8:
      return "uint8";
    case DataType::kInt32:
      return "int32";
    case DataType::kFloat32:
      return "float32";
  }
  return "?";
}

Result<Contract> parse_contract(std::string_view json_text, const std::string& where) {
  const auto invalid = [&where](const std::string& detail) {
    return Error{where + ": invalid kseg contract (" + detail + "); " + reexport(where)};
  };
  const auto parsed = json::parse(json_text);
  if (!parsed) return invalid(parsed.error().message);
  const json::Value& document = *parsed;
  const auto version = integer(document.find("contract_version"), 1, INT32_MAX);
  if (!version) return invalid("contract_version");
  if (*version > kContractVersion) {
    return Error{where + ": kseg contract version " + std::to_string(*version) +
                 " is newer than this runner supports (" + std::to_string(kContractVersion) +
                 "); update the runner or " + reexport(where)};
  }
  const std::string kind = text(document.find("output_kind"));
  const std::string input = text(document.find("input_dtype"));
  const std::string output = text(document.find("output_dtype"));
  const bool supported = (kind == "class_map" && (output == "uint8" || output == "int32")) ||
                         (kind == "logits" && output == "float32");
  const auto stride = integer(document.find("output_stride"), 1, kMaxSide);
  if (!supported || (input != "uint8" && input != "float32") || stride != 1) {
    return Error{where + ": unsupported model, " + input + " to " + kind + " (" + output +
                 "); this runner supports uint8 or float32 to class_map (uint8, int32) or logits " +
                 "(float32) of stride 1; " + reexport(where)};
  }
  Reader reader(document);
  Contract out;
  out.model = text(document.find("model"));
  out.precision = text(document.find("precision"));
  out.profile = text(document.find("profile"));
  out.dataset = text(document.find("dataset"));
  out.config_hash = text(document.find("config_hash"));
  out.kseg_version = text(document.find("kseg_version"));
  out.input_size = reader.input_size();
  out.input_dtype = input == "uint8" ? DataType::kUint8 : DataType::kFloat32;
  out.fit = reader.choice<Fit>("fit", {{"letterbox", Fit::kLetterbox},
                                       {"stretch", Fit::kStretch},
                                       {"crop", Fit::kCrop}});
  out.pad_value = static_cast<std::uint8_t>(reader.integer_of("pad_value", 0, 255));
  reader.choice<int>("channel_order", {{"RGB", 0}});
  reader.value_range();
  out.output_kind = kind == "logits" ? OutputKind::kLogits : OutputKind::kClassMap;
  out.output_dtype = output == "uint8"   ? DataType::kUint8
                     : output == "int32" ? DataType::kInt32
                                         : DataType::kFloat32;
  out.classes = reader.classes();
  if (!reader.invalid.empty()) return invalid(reader.invalid);
  return out;
}

}  // namespace kseg
