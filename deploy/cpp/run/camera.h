// A camera that may go away and come back.
#pragma once

#include "run/frames.h"

namespace kseg {

// Errors where it cannot be opened to begin with. Later, when it gives no frame, it is opened again
// and again for reconnect_s seconds, and lost when it has given none by then.
Result<std::unique_ptr<FrameSource>> open_camera(const std::string& source, double reconnect_s);

}  // namespace kseg
