// Cameras, which may be lost and come back.
#pragma once

#include "run/frames.h"

namespace kseg {

// Fails if the camera cannot be opened at the start. Later, when it delivers no frame, it is
// reopened again and again; after reconnect_s seconds without a frame, next() fails.
Result<std::unique_ptr<FrameSource>> open_camera(const std::string& source, double reconnect_s);

}  // namespace kseg
