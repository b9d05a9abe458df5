// What systemd is told, where it started the program as a service of Type=notify.
#pragma once

namespace kseg {

// Sends "READY=1", "WATCHDOG=1", "STOPPING=1" and the like to $NOTIFY_SOCKET (sd_notify(3)).
// Without one nothing happens.
void notify(const char* state);

}  // namespace kseg
