// Reads and writes images and videos with OpenCV 4.5 or newer.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "run/camera.h"
#include "run/frames.h"
#include "run/image_file.h"
#include "run/jpeg_frame.h"
#include "run/mp4_file.h"
#include "run/overlay.h"

namespace kseg {

namespace fs = std::filesystem;

namespace {

cv::Mat view(const Image& image) {
  return {image.size.height, image.size.width, image.channels == 3 ? CV_8UC3 : CV_8UC1,
          const_cast<std::uint8_t*>(image.data.data())};
}

void copy_as_rgb(const cv::Mat& bgr, Image& frame) {
  frame.resize({bgr.rows, bgr.cols}, 3);
  cv::Mat rgb = view(frame);
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
}

// Applies an EXIF orientation, 1 to 8.
void turn_upright(cv::Mat& image, int orientation) {
  if (orientation >= 5) cv::transpose(image, image);  // 5 to 8 swap height and width.
  static const std::map<int, int> kFlips = {{2, 1}, {3, -1}, {4, 0}, {6, 1}, {7, -1}, {8, 0}};
  const auto flip = kFlips.find(orientation);
  if (flip != kFlips.end()) cv::flip(image, image, flip->second);
}

// The pixels of an image file as people see them, BGR; or why it cannot be used.
Result<cv::Mat> decode(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<std::uint8_t> data{std::istreambuf_iterator<char>(file), {}};
  if (!file) return Error{"cannot be read"};
  const Result<ImageHeader> header = read_image_header(data);
  if (!header) return header.error();
  cv::Mat bgr;
  try {
    const int flags = cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION;
    bgr = cv::imdecode(data, header->alpha ? cv::IMREAD_UNCHANGED : flags);
    if (bgr.empty()) return Error{"is corrupt and cannot be decoded; replace it"};
    if (bgr.channels() == 4) {
      cv::Mat alpha;
      cv::extractChannel(bgr, alpha, 3);
      if (cv::countNonZero(alpha != 255) > 0) return Error{kTransparent};
      cv::cvtColor(bgr, bgr, cv::COLOR_BGRA2BGR);
    }
    turn_upright(bgr, header->orientation);
  } catch (const cv::Exception& error) {  // An image larger than OpenCV's limit.
    return Error{"cannot be decoded (" + error.err + "); replace it"};
  }
  return bgr;
}

class Images : public FrameSource {
 public:
  explicit Images(std::vector<fs::path> paths) : paths_(std::move(paths)) {}

  Result<FrameStatus> next(Frame& frame) override {
    if (next_ == paths_.size()) return FrameStatus::kEnd;
    frame.number = static_cast<int>(next_);
    const fs::path& path = paths_[next_++];
    const Result<cv::Mat> bgr = decode(path);
    frame.captured = Clock::now();
    if (!bgr) {
      frame.name = path.string() + ": " + bgr.error().message;
      return FrameStatus::kCorrupt;
    }
    frame.name = path.stem().string();
    copy_as_rgb(*bgr, frame.image);
    return FrameStatus::kFrame;
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
};

// A video's frames as people see them, with the file's times: kseg/video_file.py has the rules.
class Video : public FrameSource {
 public:
  explicit Video(const std::string& path) : path_(path) {}

  // Fails with the reason, without the path.
  Status open() {
    try {
      if (!video_.open(path_.string())) return Error{"cannot be opened as a video"};
      video_.set(cv::CAP_PROP_ORIENTATION_AUTO, 0);
      declared_ = video_.get(cv::CAP_PROP_FRAME_COUNT);
      jpeg_ = is_jpeg(fourcc_text(video_.get(cv::CAP_PROP_FOURCC))) && first_jpeg_is_a_frame() &&
              video_.set(cv::CAP_PROP_FORMAT, -1);
    } catch (const cv::Exception&) {
      return Error{"cannot be opened as a video"};
    }
    const Result<int> orientation = read_orientation(path_.string());
    if (!orientation) return orientation.error();
    orientation_ = *orientation;
    time_s_ = -1 / *rate();
    return Done{};
  }

  Result<FrameStatus> next(Frame& frame) override {
    frame.name = path_.stem().string();
    frame.number = count_++;
    const bool read = grab() && retrieve(frame.image);
    frame.time_s = time_s_;
    frame.captured = Clock::now();
    if (read) return FrameStatus::kFrame;
    if (frame.number >= declared_) return FrameStatus::kEnd;
    // Declared by the header but corrupt: the next read continues after it.
    frame.name = path_.string() + ": frame " + std::to_string(frame.number) + " cannot be decoded";
    return FrameStatus::kCorrupt;
  }

  std::optional<double> rate() const override {
    const double rate = video_.get(cv::CAP_PROP_FPS);
    return std::isfinite(rate) && rate > 0 ? rate : 25;
  }

 private:
  // Also true if it cannot be decoded. An interlaced frame consists of two JPEGs of half its height,
  // which FFmpeg joins.
  bool first_jpeg_is_a_frame() const {
    cv::VideoCapture video(path_.string());
    video.set(cv::CAP_PROP_FORMAT, -1);
    cv::Mat file, bgr;
    if (!video.read(file) || !decode_jpeg(file, bgr)) return true;
    return bgr.cols == static_cast<int>(video_.get(cv::CAP_PROP_FRAME_WIDTH)) &&
           bgr.rows == static_cast<int>(video_.get(cv::CAP_PROP_FRAME_HEIGHT));
  }

  // Takes the next frame and sets its time, decoded or not.
  bool grab() {
    double expected_s = time_s_ + 1 / *rate();
    bool grabbed = false;
    try {
      grabbed = video_.grab();
    } catch (const cv::Exception&) {
    }
    if (grabbed) {
      const double at_s = video_.get(cv::CAP_PROP_POS_MSEC) / 1000;
      if (!offset_s_) offset_s_ = at_s - expected_s;
      const double since_s = at_s - *offset_s_;
      if (since_s > time_s_ && std::isfinite(since_s)) expected_s = since_s;
    }
    time_s_ = expected_s;
    return grabbed;
  }

  bool retrieve(Image& image) {
    try {
      if (!video_.retrieve(jpeg_ ? file_ : bgr_)) return false;
      if (jpeg_ ? !decode_jpeg(file_, bgr_) : bgr_.empty()) return false;
      turn_upright(bgr_, orientation_);
    } catch (const cv::Exception&) {
      return false;
    }
    copy_as_rgb(bgr_, image);
    return true;
  }

  fs::path path_;
  cv::VideoCapture video_;
  bool jpeg_ = false;
  cv::Mat file_, bgr_;
  double declared_ = 0, time_s_ = 0;
  std::optional<double> offset_s_;
  int count_ = 0, orientation_ = 1;
};

// Draws the classes' names and colours into the corner, at the same places as deploy/python/run.py.
void draw_legend(const std::vector<ClassLabel>& classes, cv::Mat& rgb) {
  const double scale = std::max(0.35, rgb.rows / 700.0);
  const int line = static_cast<int>(32 * scale);
  const int thick = std::max(1, static_cast<int>(std::lrint(1.5 * scale)));
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const auto& [r, g, b] = classes[i].color;
    const int top = line / 3 + static_cast<int>(i) * line;
    const cv::Rect box({line / 3, top}, cv::Point(line / 3 + line + 1, top + line * 3 / 4 + 1));
    cv::rectangle(rgb, box, cv::Scalar(r, g, b), cv::FILLED);
    cv::rectangle(rgb, box, cv::Scalar(255, 255, 255), 1);
    const cv::Point origin(line * 5 / 3, top + line * 5 / 8);
    for (const auto& [shade, width] : {std::pair{0, thick + 2}, std::pair{255, thick}}) {
      cv::putText(rgb, classes[i].name, origin, cv::FONT_HERSHEY_SIMPLEX, scale,
                  cv::Scalar::all(shade), width, cv::LINE_AA);
    }
  }
}

class OpenCvWriter : public FrameWriter {
 public:
  OpenCvWriter(FrameWriterOptions options, std::vector<ClassLabel> classes)
      : options_(std::move(options)), classes_(std::move(classes)) {}

  Status draw(const Image& class_map, Image& frame) override {
    if (!options_.overlays) return Done{};
    blend(classes_, class_map, frame);
    try {
      cv::Mat rgb = view(frame);
      draw_legend(classes_, rgb);
      cv::cvtColor(rgb, bgr_, cv::COLOR_RGB2BGR);
    } catch (const cv::Exception& error) {
      return Error{"an overlay cannot be drawn (" + error.err + ")"};
    }
    return Done{};
  }

  Status write(const Frame& frame, const Image& class_map) override {
    const std::string& name = frame.name;
    const fs::path& folder = options_.folder;
    char number[16];
    std::snprintf(number, sizeof number, "-%06d", count_++);
    try {
      if (options_.overlays) {
        const Status done = options_.rate ? append(frame) : save(folder / (name + ".png"), bgr_);
        if (!done) return done;
      }
      if (!options_.save_masks) return Done{};
      const std::string mask = name + (options_.rate ? number : "") + ".png";
      return save(folder / "masks" / mask, view(class_map));
    } catch (const cv::Exception& error) {
      return Error{(folder / name).string() + ": cannot be written (" + error.err + ")"};
    }
  }

  Status close() override {
    if (!writer_.isOpened()) return Done{};
    writer_.release();
    // Opened again, because OpenCV's writer does not report a full disk.
    if (!cv::VideoCapture(written_.string()).isOpened()) {
      return Error{written_.string() + ": the video is incomplete; is the disk full?"};
    }
    const std::vector<double> times_s = std::move(times_s_);
    times_s_.clear();
    return set_frame_times(written_.string(), times_s, *options_.rate);
  }

  std::string text() const override {
    if (!options_.overlays) return "masks in " + (options_.folder / "masks").string();
    return "overlays in " + (written_.empty() ? options_.folder : written_).string();
  }

 private:
  static Status save(const fs::path& path, const cv::Mat& image) {
    if (cv::imwrite(path.string(), image)) return Done{};
    return Error{path.string() + ": cannot be written; choose another --out"};
  }

  Status append(const Frame& frame) {
    if (bgr_.size() != size_) {  // A camera may come back with another size; a video has one.
      const Status ended = close();
      if (!ended) return ended;
      const std::string number = ++videos_ == 1 ? "" : "-" + std::to_string(videos_);
      written_ = options_.folder / (frame.name + number + ".mp4");
      size_ = bgr_.size();
      const int codec = cv::VideoWriter::fourcc('m', 'p', '4', 'v');
      if (!writer_.open(written_.string(), codec, *options_.rate, size_)) {
        return Error{written_.string() + ": cannot be written as a video; choose another --out"};
      }
    }
    writer_.write(bgr_);
    times_s_.push_back(frame.time_s.value_or(0));
    return Done{};
  }

  FrameWriterOptions options_;
  std::vector<ClassLabel> classes_;
  fs::path written_;
  int count_ = 0, videos_ = 0;
  cv::Mat bgr_;
  cv::Size size_;
  cv::VideoWriter writer_;
  std::vector<double> times_s_;  // Of the frames in the open video.
};

}  // namespace

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source,
                                                 const CameraOptions& options) {
  auto paths = list_images(source, {".jpg", ".jpeg", ".png", ".bmp", ".webp"});
  if (!paths) return paths.error();
  if (!paths->empty()) return std::unique_ptr<FrameSource>(new Images(std::move(*paths)));
  if (is_camera(source)) return open_camera(source, options);
  std::error_code error;
  if (!fs::is_regular_file(source, error)) {
    return Error{source + ": no such file, folder or camera"};
  }
  auto video = std::make_unique<Video>(source);
  const Status opened = video->open();
  if (!opened) return Error{source + ": " + opened.error().message};
  return std::unique_ptr<FrameSource>(std::move(video));
}

std::unique_ptr<FrameWriter> open_frame_writer(const FrameWriterOptions& options,
                                               std::vector<ClassLabel> classes) {
  if (options.threads > 0) cv::setNumThreads(options.threads);
  return std::make_unique<OpenCvWriter>(options, std::move(classes));
}

}  // namespace kseg
