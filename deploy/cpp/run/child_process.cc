#include "run/child_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace kseg {

std::string run_in_child_process(std::FILE* file, unsigned seconds,
                                 const std::function<void()>& work) {
  std::fflush(stdout);
  const pid_t child = file != nullptr ? fork() : -1;
  if (child == 0) {
    alarm(seconds);
    work();
    std::fflush(file);
    _exit(0);  // Not exit(): a driver's exit handlers may hang.
  }
  int status = 0;
  const bool ended = child > 0 && waitpid(child, &status, 0) == child;
  if (file != nullptr) std::rewind(file);
  if (!ended) return "cannot be tried: no child process";
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    return number == SIGALRM ? "no result within " + std::to_string(seconds) + " s"
                             : std::string("crashes: ") + strsignal(number);
  }
  if (WEXITSTATUS(status) == 0) return "";
  return "the driver exits with code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace kseg
