// SIGINT and SIGTERM end the program in good order: after the frame at hand, with whole files.
#pragma once

namespace kseg {

// From here on the first of either signal is only remembered; the second ends the program at once.
// SIGPIPE is ignored.
void catch_stop_signals();

// The signal that came, or 0.
int stop_signal();

const char* name_of_signal(int number);

}  // namespace kseg
