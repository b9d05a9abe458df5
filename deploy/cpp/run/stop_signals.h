// SIGINT and SIGTERM end the program gracefully: after the current frame, with complete files.
#pragma once

namespace kseg {

// From here on, the first SIGINT or SIGTERM is only recorded; the second ends the program at once.
// SIGPIPE is ignored.
void handle_stop_signals();

// The signal that arrived, or 0.
int stop_signal();

const char* name_of_signal(int number);

}  // namespace kseg
