// How long the parts of a frame take.
#pragma once

#include <time.h>

namespace kseg {

struct Lap {
  double wall_ms = 0;
  double cpu_ms = 0;  // Processor time of the calling thread alone: other programs do not count.
};

class Stopwatch {
 public:
  // Since the last lap, or since it was made.
  Lap lap() {
    const Lap now = read();
    const Lap since{now.wall_ms - last_.wall_ms, now.cpu_ms - last_.cpu_ms};
    last_ = now;
    return since;
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
