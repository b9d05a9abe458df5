// MP4 and MOV files: which way is up, and the times of a written file's frames. The rules are those
// of kseg/video_file.py; one test compares both.
#pragma once

#include <string>
#include <vector>

#include "kseg/result.h"

namespace kseg {

// The EXIF orientation, 1 (upright) to 8, that the first video track declares; 1 for files of other
// formats. Fails with the reason, without the path, for an angle that is not a multiple of 90
// degrees.
Result<int> read_orientation(const std::string& path);

// Gives the frames of an MP4 file, as OpenCV writes it at `rate` per second, these times: rising,
// one per frame, seconds of any origin. The last frame lasts 1 / rate. A file at this rate, or of
// another layout, is left as it is.
Status set_frame_times(const std::string& path, const std::vector<double>& times_s, double rate);

}  // namespace kseg
