#include "run/systemd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace kseg {

void notify_systemd(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address = {};
  const std::size_t length = path != nullptr ? std::strlen(path) : 0;
  if (length == 0 || length >= sizeof address.sun_path) return;
  const int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // An abstract socket.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // Failure is ignored: the run goes on even if systemd does not listen.
  (void)sendto(socket_fd, state, std::strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
               reinterpret_cast<const sockaddr*>(&address), size);
  close(socket_fd);
}

}  // namespace kseg
