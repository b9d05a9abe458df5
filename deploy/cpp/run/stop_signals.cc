#include "run/stop_signals.h"

#include <signal.h>

namespace kseg {
namespace {

volatile sig_atomic_t received = 0;

extern "C" void record(int number) {
  if (received != 0) {  // A driver may hang. This one ends the program once the handler returns.
    signal(number, SIG_DFL);
    raise(number);
  }
  received = number;
}

}  // namespace

void handle_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = record;
  action.sa_flags = SA_RESTART;  // A write that waits for its reader is completed.
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // A closed pipe is a write error, and files are completed.
}

int stop_signal() { return received; }

const char* name_of_signal(int number) { return number == SIGINT ? "SIGINT" : "SIGTERM"; }

}  // namespace kseg
