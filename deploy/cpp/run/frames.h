// Sources of frames and writers of overlays and masks. There are two implementations:
// frames_opencv.cc and camera_opencv.cc (images, videos, cameras), and frames_ppm.cc, which needs
// no library (binary PPM images).
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

enum class FrameStatus { kFrame, kCorrupt, kEnd };

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  // Reads the next frame, RGB, and its name. kCorrupt: it cannot be decoded, and `name` is one line
  // that says so; the next frame may be good. An error: no more frames, for example a lost camera.
  virtual Result<FrameStatus> next(Image& frame, std::string& name) = 0;
  // Frames per second; none for images.
  virtual std::optional<double> rate() const { return {}; }
  // When the last frame arrived, seconds since the first; none for images.
  virtual std::optional<double> time_s() const { return {}; }
  // How often the camera was lost; none if the source is not a camera.
  virtual std::optional<int> times_lost() const { return {}; }
};

// reconnect_s: how long to wait for a lost camera, seconds.
Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source, double reconnect_s);

// Whether `source` names a camera: a number, /dev/..., csi:N (a Jetson's ports) or a GStreamer
// pipeline ("... ! appsink").
bool is_camera(const std::string& source);

class FrameWriter {
 public:
  virtual ~FrameWriter() = default;
  // Draws the classes over `frame` (RGB), if overlays are wanted. Call it before write().
  virtual Status draw(const Image& class_map, Image& frame) = 0;
  virtual Status write(const std::string& name, const Image& frame, const Image& class_map) = 0;
  // Completes a video; without it the video cannot be read. Fails if the video is incomplete.
  virtual Status close() { return Done{}; }
  // What was written where, for the summary.
  virtual std::string text() const = 0;
};

struct FrameWriterOptions {
  std::filesystem::path folder;
  std::optional<double> rate;
  bool overlays = true;
  bool save_masks = false;
  int threads = 0;  // For drawing; 0: no limit.
};

// Writes FOLDER/NAME.png (or .ppm), or FOLDER/NAME.mp4 when a rate is given, and with save_masks
// FOLDER/masks/NAME.png (or .pgm). Call prepare_folder first.
std::unique_ptr<FrameWriter> open_frame_writer(const FrameWriterOptions& options,
                                               std::vector<ClassLabel> classes);

// Creates the folders that open_frame_writer writes to. Refuses the folder that contains the input:
// an overlay has the name of its input and would overwrite it.
Status prepare_folder(const std::filesystem::path& folder, bool save_masks,
                      const std::string& source);

// The files of a folder with one of these suffixes, sorted; or the file itself. Empty if `source`
// is neither.
Result<std::vector<std::filesystem::path>> list_images(const std::string& source,
                                                       const std::vector<std::string>& suffixes);

// The message for an image that cannot be decoded.
std::string undecodable_message(const std::filesystem::path& path);

}  // namespace kseg
