// Sources of frames and writers of overlays and masks. There are two implementations:
// frames_opencv.cc and camera_opencv.cc (images, videos, cameras), and frames_ppm.cc, which needs
// no library (binary PPM images).
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kseg/contract.h"
#include "kseg/fit.h"
#include "kseg/result.h"

namespace kseg {

using Clock = std::chrono::steady_clock;

struct Frame {
  Image image;  // RGB.
  std::string name;
  int number = 0;                // Among all frames that arrived, from 0; gaps: dropped ones.
  std::optional<double> time_s;  // Since the first frame; none for images.
  Clock::time_point captured;    // When the camera took it, or when it was read from a file.
};

enum class FrameStatus { kFrame, kCorrupt, kEnd };

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  // Reads the next frame. kCorrupt: it cannot be decoded, and its name is one line that says so;
  // the next frame may be good. An error: no more frames, for example a lost camera.
  virtual Result<FrameStatus> next(Frame& frame) = 0;
  // Frames per second; none for images.
  virtual std::optional<double> rate() const { return {}; }
  // How often the camera was lost; none if the source is not a camera.
  virtual std::optional<int> times_lost() const { return {}; }
  // How many frames of a camera were replaced by a newer one before next() was called.
  virtual int dropped() const { return 0; }
  // What the camera gave, for the summary; empty if the source is not a camera.
  virtual std::string description() const { return ""; }
};

struct CameraOptions {
  double reconnect_s = 60;    // How long to wait for a lost camera.
  double timeout_s = 10;      // How long opening may take, and then each frame.
  int width = 0, height = 0;  // 0: as the camera is set.
  double rate = 0;            // Frames per second; 0: as the camera is set.
  std::string format;         // Four characters, such as MJPG; empty: OpenCV's choice.

  // Whether the camera is asked for anything.
  bool asks() const { return width > 0 || rate > 0 || !format.empty(); }
};

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source,
                                                 const CameraOptions& options);

// Whether a thread still hangs in a camera's driver. The program must then end by _Exit: that
// thread uses what exit() destroys.
bool capture_thread_hangs();

class FrameWriter {
 public:
  virtual ~FrameWriter() = default;
  // Draws the classes over `frame`, if overlays are wanted. Call it before write().
  virtual Status draw(const Image& class_map, Image& frame) = 0;
  virtual Status write(const Frame& frame, const Image& class_map) = 0;
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
