// Binary PPM (P6, maxval 255) in, PPM and PGM out: enough to test a build without OpenCV.
#include <fstream>

#include "run/frames.h"

namespace kseg {

namespace fs = std::filesystem;

namespace {

Result<bool> read_ppm(const fs::path& path, Image& frame) {
  const Error broken{path.string() + ": cannot be decoded as an image; remove or replace it"};
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int width = 0, height = 0, largest = 0;
  if (!(file >> magic >> width >> height >> largest) || magic != "P6" || largest != 255) {
    return broken;
  }
  if (width < 1 || height < 1 || width > 32768 || height > 32768) return broken;
  file.get();
  frame.resize({height, width}, 3);
  const auto size = static_cast<std::streamsize>(frame.data.size());
  if (!file.read(reinterpret_cast<char*>(frame.data.data()), size)) return broken;
  return true;
}

Status write_pnm(const fs::path& path, const char* magic, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << magic << '\n' << image.size.width << ' ' << image.size.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.data.data()),
             static_cast<std::streamsize>(image.data.size()));
  if (file.flush()) return Done{};
  return Error{path.string() + ": cannot be written; choose another --out"};
}

class Images : public FrameSource {
 public:
  explicit Images(std::vector<fs::path> paths) : paths_(std::move(paths)) {}

  Result<bool> next(Image& frame, std::string& name) override {
    if (next_ == paths_.size()) return false;
    name = paths_[next_].stem().string();
    return read_ppm(paths_[next_++], frame);
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
};

class Files : public Sink {
 public:
  Files(fs::path folder, bool save_masks) : folder_(std::move(folder)), save_masks_(save_masks) {}

  Status put(const std::string& name, const Image& picture, const Image& class_map) override {
    const Status written = write_pnm(folder_ / (name + ".ppm"), "P6", picture);
    if (!written || !save_masks_) return written;
    return write_pnm(folder_ / "masks" / (name + ".pgm"), "P5", class_map);
  }

  std::string text() const override { return "overlays in " + folder_.string(); }

 private:
  fs::path folder_;
  bool save_masks_;
};

}  // namespace

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source) {
  auto paths = list_images(source, {".ppm"});
  if (!paths) return paths.error();
  std::error_code error;
  if (paths->empty() && !fs::exists(source, error)) {
    return Error{source + ": no such file, folder or camera"};
  }
  if (paths->empty()) {
    return Error{source + ": cannot be opened; this build has no OpenCV and reads .ppm alone"};
  }
  return std::unique_ptr<FrameSource>(new Images(std::move(*paths)));
}

std::unique_ptr<Sink> open_sink(const fs::path& folder, std::optional<double>, bool save_masks,
                                std::vector<ClassLabel>) {
  return std::make_unique<Files>(folder, save_masks);
}

}  // namespace kseg
