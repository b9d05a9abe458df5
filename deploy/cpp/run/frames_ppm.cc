// Reads binary PPM (P6, maxval 255) and writes PPM and PGM: enough to test a build without OpenCV.
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

  Result<FrameStatus> next(Frame& frame) override {
    if (next_ == paths_.size()) return FrameStatus::kEnd;
    frame.number = static_cast<int>(next_);
    const fs::path& path = paths_[next_++];
    const bool decoded = read_ppm(path, frame.image);
    frame.captured = Clock::now();
    frame.name = decoded ? path.stem().string() : undecodable_message(path);
    return decoded ? FrameStatus::kFrame : FrameStatus::kCorrupt;
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
};

class PnmWriter : public FrameWriter {
 public:
  PnmWriter(FrameWriterOptions options, std::vector<ClassLabel> classes)
      : options_(std::move(options)), classes_(std::move(classes)) {}

  Status draw(const Image& class_map, Image& frame) override {
    if (options_.overlays) blend(classes_, class_map, frame);
    return Done{};
  }

  Status write(const Frame& frame, const Image& class_map) override {
    const fs::path& folder = options_.folder;
    if (options_.overlays) {
      const Status written = write_pnm(folder / (frame.name + ".ppm"), "P6", frame.image);
      if (!written) return written;
    }
    if (!options_.save_masks) return Done{};
    return write_pnm(folder / "masks" / (frame.name + ".pgm"), "P5", class_map);
  }

  std::string text() const override {
    return options_.overlays ? "overlays in " + options_.folder.string()
                             : "masks in " + (options_.folder / "masks").string();
  }

 private:
  FrameWriterOptions options_;
  std::vector<ClassLabel> classes_;
};

}  // namespace

bool capture_thread_hangs() { return false; }

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source,
                                                 const CameraOptions&) {
  auto paths = list_images(source, {".ppm"});
  if (!paths) return paths.error();
  std::error_code error;
  if (paths->empty() && !fs::exists(source, error)) {
    return Error{source + ": no such file, folder or camera"};
  }
  if (paths->empty()) {
    return Error{source + ": cannot be opened; this build has no OpenCV and reads only .ppm"};
  }
  return std::unique_ptr<FrameSource>(new Images(std::move(*paths)));
}

std::unique_ptr<FrameWriter> open_frame_writer(const FrameWriterOptions& options,
                                               std::vector<ClassLabel> classes) {
  return std::make_unique<PnmWriter>(options, std::move(classes));
}

}  // namespace kseg
