// Runs code in a child process, because GPU drivers crash and hang.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

namespace kseg {

// Runs `work` in a child process for at most `seconds`. What it writes to `file` can be read here
// afterwards, from the start; if `file` is null, nothing is run. Returns "" or, if the child
// failed, how it ended. Call it before this process starts threads.
std::string run_in_child_process(std::FILE* file, unsigned seconds,
                                 const std::function<void()>& work);

}  // namespace kseg
