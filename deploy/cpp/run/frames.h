// Frames in, pictures out. Two builds of it: frames_opencv.cc and camera_opencv.cc (images, videos,
// cameras), and frames_ppm.cc, which needs no library (binary PPM images).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/fit.h"
#include "kseg/result.h"

namespace kseg {

enum class Got { kFrame, kDamaged, kEnd };

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  // The next frame, RGB, and its name. kDamaged: it cannot be decoded, and `name` is one line that
  // says so; the next one may be well. An error: no frame comes any more, as from a lost camera.
  virtual Result<Got> next(Image& frame, std::string& name) = 0;
  // Frames per second; nothing for images.
  virtual std::optional<double> rate() const { return {}; }
  // When the last frame came, seconds since the first; nothing for images.
  virtual std::optional<double> time_s() const { return {}; }
  // How often a camera went away; nothing where none can.
  virtual std::optional<int> times_lost() const { return {}; }
};

// reconnect_s: how long a camera that went away is waited for.
Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source, double reconnect_s);

// Whether `source` names a camera: a number, /dev/..., csi:N (Jetson's ports) or a GStreamer
// pipeline ("... ! appsink").
bool is_camera(const std::string& source);

class Sink {
 public:
  virtual ~Sink() = default;
  // Where overlays are asked for: draws the classes over `picture` (RGB), which write then takes.
  virtual Status draw(const Image& class_map, Image& picture) = 0;
  virtual Status write(const std::string& name, const Image& picture, const Image& class_map) = 0;
  // Ends a video, without which it cannot be read. An error: it could not be written to its end.
  virtual Status close() { return Done{}; }
  // Where things were written, for people.
  virtual std::string text() const = 0;
};

struct SinkOptions {
  std::filesystem::path folder;
  std::optional<double> rate;
  bool overlays = true;
  bool save_masks = false;
  int threads = 0;  // That drawing may use; 0: as many as it likes.
};

// Writes FOLDER/NAME.png (or .ppm), or FOLDER/NAME.mp4 when a rate is given, and with save_masks
// FOLDER/masks/NAME.png (or .pgm). prepare_folder must have agreed.
std::unique_ptr<Sink> open_sink(const SinkOptions& options, std::vector<ClassLabel> classes);

// Makes the folders that open_sink writes to. Refuses the folder that holds the input: an overlay
// has the name of its input and would replace it.
Status prepare_folder(const std::filesystem::path& folder, bool save_masks,
                      const std::string& source);

// What the builds share: the files of a folder with one of these suffixes, sorted; or the one file
// itself. Nothing when `source` is neither.
Result<std::vector<std::filesystem::path>> list_images(const std::string& source,
                                                       const std::vector<std::string>& suffixes);

// The line on a picture that cannot be decoded.
std::string undecodable(const std::filesystem::path& path);

}  // namespace kseg
