// Cameras, which may be lost and come back.
#pragma once

#include "run/frames.h"

namespace kseg {

// Whether `source` names a camera: a number, /dev/..., csi:N (a Jetson's ports), a GStreamer
// pipeline ("... ! appsink"), or a stream (rtsp://, http://, ...).
bool is_camera(const std::string& source);

// Fails if the camera cannot be opened at the start. Frames are read in a thread of their own, and
// next() returns the newest one. When none arrives for options.timeout_s, the camera is reopened
// again and again; after options.reconnect_s without a frame, next() fails.
Result<std::unique_ptr<FrameSource>> open_camera(const std::string& source,
                                                 const CameraOptions& options);

}  // namespace kseg
