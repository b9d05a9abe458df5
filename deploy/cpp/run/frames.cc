#include "run/frames.h"

#include <algorithm>
#include <map>

#include "run/image_file.h"

namespace kseg {

namespace fs = std::filesystem;

namespace {

bool has_suffix(const fs::path& path, const std::vector<std::string>& suffixes) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return std::find(suffixes.begin(), suffixes.end(), suffix) != suffixes.end();
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

Status prepare_folder(const fs::path& folder, bool save_masks, const std::string& source) {
  std::error_code error;
  const fs::path target = save_masks ? folder / "masks" : folder;
  fs::create_directories(target, error);
  if (!error && !fs::is_directory(target, error)) {
    error = std::make_error_code(std::errc::file_exists);
  }
  if (error) {
    const bool is_file =
        error == std::errc::file_exists || error == std::errc::not_a_directory;
    const std::string reason = is_file ? "is a file, not a folder" : error.message();
    return Error{"--out " + folder.string() + ": " + reason};
  }
  const fs::path input = fs::canonical(source, error);
  if (error) return Done{};  // A camera.
  const fs::path out = fs::canonical(folder, error);
  if (out == input || out == input.parent_path()) {
    return Error{"--out " + folder.string() + ": contains the input; choose another folder"};
  }
  return Done{};
}

Result<std::vector<fs::path>> list_images(const std::string& source,
                                          const std::vector<std::string>& suffixes) {
  std::error_code error;
  std::vector<fs::path> paths;
  if (fs::is_regular_file(source, error) && has_suffix(source, suffixes)) paths.push_back(source);
  if (!fs::is_directory(source, error)) return paths;
  for (fs::directory_iterator it(source, error), end; !error && it != end; it.increment(error)) {
    const fs::path& path = it->path();
    if (has_suffix(path, suffixes) && !is_system_name(path.filename().string())) {
      paths.push_back(path);
    }
  }
  if (error) return Error{source + ": cannot be read (" + error.message() + ")"};
  if (paths.empty()) return Error{source + ": contains no images (" + joined(suffixes) + ")"};
  std::sort(paths.begin(), paths.end());
  std::map<std::string, fs::path> path_by_stem;  // Outputs are named after the stem.
  for (const fs::path& path : paths) {
    const auto [other, is_new] = path_by_stem.emplace(path.stem().string(), path);
    if (!is_new) {
      return Error{path.string() + ": has the same name as " + other->second.string() +
                   "; rename one of them"};
    }
  }
  return paths;
}

std::string undecodable_message(const fs::path& path) {
  return path.string() + ": cannot be decoded as an image; remove or replace it";
}

}  // namespace kseg
