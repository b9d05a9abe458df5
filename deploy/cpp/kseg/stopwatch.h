// Stopwatch: wall time and processor time of consecutive laps.
#pragma once

#include <time.h>

namespace kseg {

struct Lap {
  double wall_ms = 0;
  double cpu_ms = 0;  // Processor time of the calling thread, unaffected by other programs.
};

class Stopwatch {
 public:
  // Time since the last lap, or since construction.
  Lap lap() {
    const Lap now = read();
    const Lap elapsed{now.wall_ms - last_.wall_ms, now.cpu_ms - last_.cpu_ms};
    last_ = now;
    return elapsed;
  }

 private:
  static double ms(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
  }
  static Lap read() { return {ms(CLOCK_MONOTONIC), ms(CLOCK_THREAD_CPUTIME_ID)}; }

  Lap last_ = read();
};

}  // namespace kseg
