#include "run/stop.h"

#include <signal.h>

namespace kseg {
namespace {

volatile sig_atomic_t came = 0;

extern "C" void remember(int number) {
  if (came != 0) {  // A driver may hang: the second one ends it, once this handler has returned.
    signal(number, SIG_DFL);
    raise(number);
  }
  came = number;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;  // A line that waits for its reader is written whole.
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // A reader that has left is an error of write, and files end well.
}

int stop_signal() { return came; }

const char* name_of_signal(int number) { return number == SIGINT ? "SIGINT" : "SIGTERM"; }

}  // namespace kseg
