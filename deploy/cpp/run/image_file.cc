#include "run/image_file.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "kseg/tflite_file.h"

namespace kseg {

const char* const kTransparent = "has transparent pixels; save it without transparency";

namespace {

constexpr std::string_view kPng("\x89PNG\r\n\x1a\n", 8);

// What a header says; `refuse` turns some of it into an error.
struct Found {
  std::string format;
  int bits = 8;
  bool cmyk = false, alpha = false, transparent = false, animated = false;
  int orientation = 1;
};

// A part of a file. Reading past its end sets `failed`, and gives 0.
struct Bytes {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  bool big_endian = true;
  bool failed = false;

  std::uint32_t read(std::size_t at, std::size_t count) {
    if (at > size || count > size - at) {
      failed = true;
      return 0;
    }
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      value = value << 8 | data[at + (big_endian ? i : count - 1 - i)];
    }
    return value;
  }

  // Bytes of a range, cut at the end of the file.
  Bytes part(std::size_t at, std::size_t count) const {
    at = std::min(at, size);
    return {data + at, std::min(count, size - at), big_endian};
  }

  std::string_view text(std::size_t at, std::size_t count) const {
    const Bytes range = part(at, count);
    return {reinterpret_cast<const char*>(range.data), range.size};
  }
};

Error truncated(const Bytes& file) {
  return {"is truncated (" + std::to_string(file.size) + " bytes); replace it"};
}

// The orientation in EXIF data, which is a TIFF; 1 when it has none or makes no sense.
int exif_orientation(Bytes tiff) {
  const std::string_view order = tiff.text(0, 2);
  if (order != "II" && order != "MM") return 1;
  tiff.big_endian = order == "MM";
  const std::size_t start = tiff.read(4, 4);
  const std::size_t count = tiff.read(start, 2);
  for (std::size_t i = 0; i < count && !tiff.failed; ++i) {
    const std::size_t entry = start + 2 + 12 * i;
    if (tiff.read(entry, 2) != 0x112 || tiff.read(entry + 2, 2) != 3) continue;
    const std::uint32_t value = tiff.read(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Result<Found> jpeg_header(Bytes file) {
  Found found{"JPEG"};
  std::size_t position = 2;
  std::uint32_t marker = 0, frame_marker = 0;
  Bytes frame;
  while (true) {
    while (file.text(position, 2) == "\xff\xff") ++position;  // Padding.
    const std::uint32_t mark = file.read(position, 1);
    marker = file.read(position + 1, 1);
    if (file.failed) return truncated(file);
    if (mark != 0xFF) return Error{"is corrupt between its JPEG segments; replace it"};
    if (marker == 0xD9) return truncated(file);
    const std::size_t length = file.read(position + 2, 2);
    if (file.failed) return truncated(file);
    const Bytes segment = file.part(position + 4, length < 2 ? 0 : length - 2);
    if (marker == 0xDA) break;  // Start of scan.
    if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
      frame_marker = marker;
      frame = segment;
    } else if (marker == 0xE1 && segment.text(0, 6) == std::string_view("Exif\0\0", 6) &&
               found.orientation == 1) {
      found.orientation = exif_orientation(segment.part(6, segment.size));
    }
    position += 2 + length;
  }
  // Within scans a byte FF is always followed by another, so FF D9 is the end of the picture.
  const std::string_view rest = file.text(position, file.size);
  if (!frame_marker || rest.find("\xff\xd9") == rest.npos) return truncated(file);
  if (frame_marker > 0xC2) {
    return Error{"is a lossless or arithmetic JPEG; save it as a common JPEG or PNG"};
  }
  found.bits = static_cast<int>(frame.read(0, 1));
  const std::uint32_t channels = frame.read(5, 1);
  if (frame.failed) return truncated(file);
  if (channels != 1 && channels != 3 && channels != 4) {
    return Error{"has " + std::to_string(channels) + " channels; save it as RGB"};
  }
  found.cmyk = channels == 4;
  return found;
}

Result<Found> png_header(Bytes file) {
  Found found{"PNG"};
  std::uint32_t color = 0;
  std::string_view kind;
  for (std::size_t position = kPng.size(); kind != "IEND";) {
    const std::size_t length = file.read(position, 4);
    kind = file.text(position + 4, 4);
    const std::uint32_t checksum = file.read(position + 8 + length, 4);
    if (file.failed || kind.size() < 4) return truncated(file);
    const bool critical = !(kind[0] & 32);
    if (critical && crc32(file.data + position + 4, length + 4) != checksum) {
      return Error{"is corrupt: a checksum in it is wrong; replace it"};
    }
    Bytes content = file.part(position + 8, length);
    if (kind == "IHDR") {
      found.bits = static_cast<int>(content.read(8, 1));
      color = content.read(9, 1);
      if (content.failed || (color > 4 ? color != 6 : color == 1)) return truncated(file);
      found.alpha = color >= 4;
    } else if (kind == "tRNS") {  // A palette's has an alpha value for each of its entries.
      const std::string_view values = content.text(0, length);
      found.transparent = color != 3 || values.find_first_not_of('\xff') != values.npos;
    } else if (kind == "acTL") {
      found.animated = true;
    } else if (kind == "eXIf") {
      found.orientation = exif_orientation(content);
    }
    position += 12 + length;
  }
  return found;
}

Result<Found> webp_header(Bytes file) {
  Found found{"WebP"};
  file.big_endian = false;
  const std::size_t size = file.read(4, 4);
  if (file.failed || size + 8 > file.size) return truncated(file);
  for (std::size_t position = 12; position + 8 <= size + 8;) {
    const std::string_view kind = file.text(position, 4);
    const std::size_t length = file.read(position + 4, 4);
    Bytes content = file.part(position + 8, length);
    if (kind == "VP8X") {
      const std::uint32_t flags = content.read(0, 1);
      found.alpha = found.alpha || (flags & 16);
      found.animated = flags & 2;
    } else if (kind == "VP8L") {
      found.alpha = found.alpha || (content.read(4, 1) & 16);
    } else if (kind == "EXIF") {
      const bool prefixed = content.text(0, 6) == std::string_view("Exif\0\0", 6);
      found.orientation = exif_orientation(content.part(prefixed ? 6 : 0, length));
    }
    if (content.failed) return truncated(file);
    position += 8 + length + length % 2;
  }
  return found;
}

Result<Found> bmp_header(Bytes file) {
  file.big_endian = false;
  const std::size_t pixels = file.read(10, 4);
  const std::uint32_t header = file.read(14, 4), bits = file.read(28, 2);
  const auto width = static_cast<std::int32_t>(file.read(18, 4));
  const auto height = static_cast<std::int32_t>(file.read(22, 4));
  const std::uint32_t compression = file.read(30, 4);
  if (file.failed) return truncated(file);
  if (header < 40 || (bits != 8 && bits != 24) || compression) {
    return Error{"is not a plain BMP of 8 or 24 bits; save it as PNG"};
  }
  const std::int64_t row = (static_cast<std::int64_t>(width) * bits + 31) / 32 * 4;
  const std::int64_t end = static_cast<std::int64_t>(pixels) + row * std::llabs(height);
  if (end > static_cast<std::int64_t>(file.size)) return truncated(file);
  return Found{"BMP"};
}

Error other_format(const Bytes& file) {
  static const std::vector<std::pair<std::string_view, const char*>> kNames = {
      {"GIF8", "a GIF"},
      {{"II*\0", 4}, "a TIFF"},
      {{"MM\0*", 4}, "a TIFF"},
      {{"\0\0\0\x0cjP", 6}, "a JPEG 2000"},
      {"P6", "a PPM"},
      {"P5", "a PGM"},
      {"8BPS", "a Photoshop file"},
      {"%PDF", "a PDF"},
      {"PK\x03\x04", "a ZIP archive"},
      {"version https://git-lfs", "a Git LFS pointer (`git lfs pull` fetches the file)"},
      {"<", "a web page or XML (a failed download?)"}};
  std::string_view start = file.text(0, file.size);
  start.remove_prefix(std::min(start.find_first_not_of(" \t\n\r\v\f"), start.size()));
  std::string name = "no image";
  for (const auto& [magic, text] : kNames) {
    if (start.substr(0, magic.size()) != magic) continue;
    name = text;
    break;
  }
  if (file.text(4, 4) == "ftyp") name = "a HEIC or AVIF";
  return {"is " + name + "; expected JPEG, PNG, WebP or BMP"};
}

Result<Found> read_any(const Bytes& file) {
  if (file.size == 0) return Error{"is empty; replace it"};
  if (file.text(0, 2) == "\xff\xd8") return jpeg_header(file);
  if (file.text(0, kPng.size()) == kPng) return png_header(file);
  if (file.text(0, 4) == "RIFF" && file.text(8, 4) == "WEBP") return webp_header(file);
  if (file.text(0, 2) == "BM") return bmp_header(file);
  return other_format(file);
}

}  // namespace

Result<ImageHeader> read_image_header(const std::vector<std::uint8_t>& data) {
  const Result<Found> found = read_any({data.data(), data.size()});
  if (!found) return found.error();
  if (found->animated) return Error{"is an animated " + found->format + "; save one picture of it"};
  if (found->transparent) return Error{kTransparent};
  if (found->cmyk) return Error{"has CMYK colours; save it as RGB"};
  if (found->bits > 8) {
    return Error{"has " + std::to_string(found->bits) + " bits per channel; save it with 8"};
  }
  return ImageHeader{found->alpha, found->orientation};
}

bool is_system_name(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name.substr(0, 1) == "." || lower == "__macosx" || lower == "thumbs.db" ||
         lower == "desktop.ini";
}

}  // namespace kseg
