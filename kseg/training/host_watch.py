"""Watches the other hosts of a training, and ends this one when one of them has gone.

Without it, a host would wait for a lost one until JAX aborts the process: after 100 seconds, with a
C++ stack trace. Host 0 keeps the connections over which all hosts have met
(kseg.training.coordinator), each other host the one to host 0. A killed process closes its
connection at once; a host without power or network no longer acknowledges keep-alive probes.

A host that has finished sends "done". Host 0 sends the others "gone K" when it has lost host K.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Mapping

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again.

_DONE = b"done\n"
# Probes of a silent connection: the first after 10 s, 4 more in vain, every 5 s: lost after 30 s.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class HostWatch:
    """A thread that calls `on_loss(host number)` when a host ends before it has finished.

    connections: {host number: connected socket}, as kseg.training.coordinator.wait_for_all returns.
    """

    def __init__(self, connections: Mapping[int, socket.socket], on_loss: Callable[[int], None]):
        self._connections, self._on_loss = dict(connections), on_loss
        self._finished = False
        for connection in self._connections.values():
            connection.setblocking(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE.items():
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._thread = threading.Thread(target=self._watch, name="host watch", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Lets the other hosts know that this one has finished; it no longer needs them."""
        self._finished = True
        self._send(_DONE)

    def wait(self, seconds: float) -> None:
        """Waits until the watch has ended, since a host was lost or all have finished."""
        self._thread.join(seconds)

    def _watch(self):
        with selectors.DefaultSelector() as selector:
            for host, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, host)
            while selector.get_map():
                for key, _ in selector.select():
                    line = _receive(key.fileobj)
                    if line != _DONE and self._finished:
                        return
                    if line != _DONE:
                        lost = int(line.split()[1]) if line.startswith(b"gone ") else key.data
                        self._send(f"gone {lost}\n".encode())
                        self._on_loss(lost)
                        return
                    selector.unregister(key.fileobj)

    def _send(self, line):
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(line)


def end_process(hosts: list[str], run: str | os.PathLike[str]) -> Callable[[int], None]:
    """Returns an `on_loss` that ends this process with one line and EXIT_CODE.

    The process ends at once: its main thread may wait in a computation that needs the lost host.
    """

    def on_loss(host: int) -> None:
        sys.stdout.flush()
        print(
            f"error: host {host} ({hosts[host]}) has ended or is unreachable; start the same "
            f"command again, with the hosts that remain in --hosts: {run} resumes at its last "
            "checkpoint",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_CODE)

    return on_loss


def _receive(connection):
    """Returns one line, b"" when the other side has ended."""
    try:
        return connection.recv(64)
    except OSError:
        return b""
