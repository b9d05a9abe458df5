// Image files: which formats are read, which are refused, and which way is up. The rules and the
// messages are those of kseg/image_file.py; one test compares both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kseg/result.h"

namespace kseg {

struct ImageHeader {
  bool alpha = false;   // An alpha channel; its values are unknown.
  int orientation = 1;  // EXIF, 1 (upright) to 8.
};

// Fails with the reason, without the path, for a file that is refused.
Result<ImageHeader> read_image_header(const std::vector<std::uint8_t>& data);

extern const char* const kTransparent;  // The reason for pixels that are not opaque.

// Whether a file or folder belongs to an operating system, not to the data: ._x.jpg, Thumbs.db.
bool is_system_name(const std::string& name);

}  // namespace kseg
