// Messages to systemd, for a service of Type=notify.
#pragma once

namespace kseg {

// Sends a state such as "READY=1", "WATCHDOG=1" or "STOPPING=1" to $NOTIFY_SOCKET (sd_notify(3)).
// Does nothing if that is not set.
void notify_systemd(const char* state);

}  // namespace kseg
