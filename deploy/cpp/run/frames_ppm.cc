// Binary PPM (P6, maxval 255) in, PPM and PGM out: enough to test a build without OpenCV.
#include <fstream>

#include "run/frames.h"
#include "run/overlay.h"

namespace kseg {

namespace fs = std::filesystem;

namespace {

bool read_ppm(const fs::path& path, Image& frame) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int width = 0, height = 0, largest = 0;
  if (!(file >> magic >> width >> height >> largest) || magic != "P6" || largest != 255) {
    return false;
  }
  if (width < 1 || height < 1 || width > 32768 || height > 32768) return false;
  file.get();
  frame.resize({height, width}, 3);
  const auto size = static_cast<std::streamsize>(frame.data.size());
  return static_cast<bool>(file.read(reinterpret_cast<char*>(frame.data.data()), size));
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

  Result<Got> next(Image& frame, std::string& name) override {
    if (next_ == paths_.size()) return Got::kEnd;
    const fs::path& path = paths_[next_++];
    const bool well = read_ppm(path, frame);
    name = well ? path.stem().string() : undecodable(path);
    return well ? Got::kFrame : Got::kDamaged;
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
};

class Files : public Sink {
 public:
  Files(SinkOptions options, std::vector<ClassLabel> classes)
      : options_(std::move(options)), classes_(std::move(classes)) {}

  Status draw(const Image& class_map, Image& picture) override {
    if (options_.overlays) blend(classes_, class_map, picture);
    return Done{};
  }

  Status write(const std::string& name, const Image& picture, const Image& class_map) override {
    const fs::path& folder = options_.folder;
    if (options_.overlays) {
      const Status written = write_pnm(folder / (name + ".ppm"), "P6", picture);
      if (!written) return written;
    }
    if (!options_.save_masks) return Done{};
    return write_pnm(folder / "masks" / (name + ".pgm"), "P5", class_map);
  }

  std::string text() const override {
    return options_.overlays ? "overlays in " + options_.folder.string()
                             : "masks in " + (options_.folder / "masks").string();
  }

 private:
  SinkOptions options_;
  std::vector<ClassLabel> classes_;
};

}  // namespace

bool is_camera(const std::string&) { return false; }

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source, double) {
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

std::unique_ptr<Sink> open_sink(const SinkOptions& options, std::vector<ClassLabel> classes) {
  return std::make_unique<Files>(options, std::move(classes));
}

}  // namespace kseg
