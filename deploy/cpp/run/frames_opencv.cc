// Images, videos and cameras by OpenCV 4.5 or newer.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "run/frames.h"

namespace kseg {

namespace fs = std::filesystem;

namespace {

cv::Mat view(const Image& image) {
  return {image.size.height, image.size.width, image.channels == 3 ? CV_8UC3 : CV_8UC1,
          const_cast<std::uint8_t*>(image.data.data())};
}

void take(const cv::Mat& bgr, Image& frame) {
  frame.resize({bgr.rows, bgr.cols}, 3);
  cv::Mat rgb = view(frame);
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
}

class Images : public FrameSource {
 public:
  explicit Images(std::vector<fs::path> paths) : paths_(std::move(paths)) {}

  Result<bool> next(Image& frame, std::string& name) override {
    if (next_ == paths_.size()) return false;
    const fs::path path = paths_[next_++];
    name = path.stem().string();
    try {
      const cv::Mat bgr = cv::imread(path.string(), cv::IMREAD_COLOR);
      if (!bgr.empty()) {
        take(bgr, frame);
        return true;
      }
    } catch (const cv::Exception&) {  // A picture larger than OpenCV's limit.
    }
    return Error{path.string() + ": cannot be decoded as an image; remove or replace it"};
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
};

class Video : public FrameSource {
 public:
  Video(const std::string& source, bool camera)
      : name_(camera ? "camera" : fs::path(source).stem().string()) {
    const bool number = source.find_first_not_of("0123456789") == std::string::npos;
    try {
      opened_ = number ? video_.open(std::atoi(source.c_str())) : video_.open(source);
    } catch (const cv::Exception&) {
      opened_ = false;
    }
  }

  bool opened() const { return opened_; }

  Result<bool> next(Image& frame, std::string& name) override {
    name = name_;
    try {
      if (!video_.read(bgr_)) return false;
      take(bgr_, frame);
      return true;
    } catch (const cv::Exception& error) {
      return Error{name_ + ": cannot be read on (" + error.err + ")"};
    }
  }

  std::optional<double> rate() const override {
    const double rate = video_.get(cv::CAP_PROP_FPS);
    return rate > 0 ? rate : 25;
  }

 private:
  std::string name_;
  cv::VideoCapture video_;
  cv::Mat bgr_;
  bool opened_ = false;
};

// The classes' names and colours in the corner, as deploy/python/run.py places them.
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

class Files : public Sink {
 public:
  Files(fs::path folder, std::optional<double> rate, bool save_masks,
        std::vector<ClassLabel> classes)
      : folder_(std::move(folder)),
        rate_(rate),
        save_masks_(save_masks),
        classes_(std::move(classes)) {}

  Status put(const std::string& name, const Image& picture, const Image& class_map) override {
    char number[16];
    std::snprintf(number, sizeof number, "-%06d", count_++);
    try {
      cv::Mat rgb = view(picture).clone();
      draw_legend(classes_, rgb);
      cv::cvtColor(rgb, bgr_, cv::COLOR_RGB2BGR);
      Status done = rate_ ? append(name) : write(folder_ / (name + ".png"), bgr_);
      if (!done || !save_masks_) return done;
      const std::string mask = name + (rate_ ? number : "") + ".png";
      return write(folder_ / "masks" / mask, view(class_map));
    } catch (const cv::Exception& error) {
      return Error{(folder_ / name).string() + ": cannot be written (" + error.err + ")"};
    }
  }

  std::string text() const override {
    return "overlays in " + (written_.empty() ? folder_ : written_).string();
  }

 private:
  static Status write(const fs::path& path, const cv::Mat& image) {
    if (cv::imwrite(path.string(), image)) return Done{};
    return Error{path.string() + ": cannot be written; choose another --out"};
  }

  Status append(const std::string& name) {
    if (written_.empty()) {
      written_ = folder_ / (name + ".mp4");
      const int codec = cv::VideoWriter::fourcc('m', 'p', '4', 'v');
      if (!writer_.open(written_.string(), codec, *rate_, bgr_.size())) {
        return Error{written_.string() + ": video cannot be written there; choose another --out"};
      }
    }
    writer_.write(bgr_);
    return Done{};
  }

  fs::path folder_, written_;
  std::optional<double> rate_;
  bool save_masks_;
  std::vector<ClassLabel> classes_;
  int count_ = 0;
  cv::Mat bgr_;
  cv::VideoWriter writer_;
};

}  // namespace

Result<std::unique_ptr<FrameSource>> open_frames(const std::string& source) {
  auto paths = list_images(source, {".jpg", ".jpeg", ".png", ".bmp", ".webp"});
  if (!paths) return paths.error();
  if (!paths->empty()) return std::unique_ptr<FrameSource>(new Images(std::move(*paths)));
  const bool digits =
      !source.empty() && source.find_first_not_of("0123456789") == std::string::npos;
  const bool camera = digits || source.rfind("/dev/", 0) == 0;
  std::error_code error;
  if (!camera && !fs::is_regular_file(source, error)) {
    return Error{source + ": no such file, folder or camera"};
  }
  auto video = std::make_unique<Video>(source, camera);
  if (!video->opened()) {
    return Error{source + ": cannot be opened as a " + (camera ? "camera" : "video")};
  }
  return std::unique_ptr<FrameSource>(std::move(video));
}

std::unique_ptr<Sink> open_sink(const fs::path& folder, std::optional<double> rate,
                                bool save_masks, std::vector<ClassLabel> classes) {
  return std::make_unique<Files>(folder, rate, save_masks, std::move(classes));
}

}  // namespace kseg
