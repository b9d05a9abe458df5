// Drivers crash and hang: they are asked in a child process.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

namespace kseg {

// Runs `work` in a child, which ends when it returns or after `seconds`; what it writes to `file`
// (may be null: then nothing is run) can be read here afterwards, from its start. Returns "" or,
// where it did not end well, how it ended. To be called before this process has threads.
std::string run_apart(std::FILE* file, unsigned seconds, const std::function<void()>& work);

}  // namespace kseg
