"""Makes the hosts of a training wait for each other before JAX connects them.

jax.distributed.initialize(initialization_timeout=...) cannot replace this: in JAX 0.10 a host that
waits too long is aborted (exit code 134 and a C++ stack trace), with no exception to catch. It also
does not say which hosts are missing, nor refuse two hosts with the same number or with different
--hosts.

Protocol: host 0 listens at its port. The others connect and send "kseg HOST of COUNT"; host 0 sends
"kseg: go" to all once all are connected, or "kseg: REASON". Then the port is free for JAX. Any
other connection is closed.
"""

import contextlib
import re
import selectors
import socket
import time

from kseg.errors import InputError

_REQUEST = re.compile(rb"kseg (\d{1,6}) of (\d{1,6})\n")
_GO = "go"
_REPLY = "kseg: "  # Prefix of host 0's replies; other servers send something else.
_MAX_LINE_BYTES = 4096
_RETRY_S = 0.5


def wait_for_all(
    name: str, port: int, host: int, count: int, *, wait_s: int
) -> dict[int, socket.socket]:
    """Returns once all `count` hosts are connected; this is number `host`, host 0 is at name:port.

    Returns {number: open connection}: host 0 those to all others, each other host the one to host
    0. Host 0 no longer listens: the port is free.

    Raises InputError when host 0 cannot listen, when hosts are missing after wait_s seconds, and on
    a host that host 0 rejects: its number is in use, or it expects another `count`. A host that
    ends while it waits may connect again.
    """
    if host:
        return {0: _connect(name, port, host, count, wait_s)}
    return _Coordinator(count).serve(port, wait_s) if count > 1 else {}


class _Coordinator:
    """Host 0: accepts the other hosts and sends all of them the outcome."""

    def __init__(self, count):
        self.count = count
        self.waiting = {}  # Host number -> connection.
        self.rejected = {}  # (address, host number) -> reason.

    def serve(self, port, wait_s):
        """Returns the connections once all hosts are connected. Raises InputError."""
        deadline = time.monotonic() + wait_s
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(_listen(port))
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(listener, selectors.EVENT_READ)
            while self._missing() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj is listener:
                        with contextlib.suppress(OSError):  # It has disconnected again.
                            connection = stack.enter_context(listener.accept()[0])
                            connection.setblocking(False)
                            selector.register(connection, selectors.EVENT_READ)
                    elif not self._admit(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
            failure = self._failure(wait_s)
            for connection in self.waiting.values():
                _send(connection, _REPLY + (failure or _GO))
            if failure:
                raise InputError(f"--hosts: {failure}")
            listener.close()
            stack.pop_all()  # All that wait stay open, the others are closed.
        return self.waiting

    def _missing(self):
        return [host for host in range(1, self.count) if host not in self.waiting]

    def _admit(self, connection):
        """Reads from a connection. Returns whether it is a host that waits from now on."""
        try:
            line = connection.recv(_MAX_LINE_BYTES)
        except OSError:
            line = b""
        for host, other in list(self.waiting.items()):
            if other is connection:  # A host that waits sends nothing more: it has ended.
                del self.waiting[host]
                return False
        request = _REQUEST.fullmatch(line)
        if not request:
            return False
        host, count = map(int, request.groups())
        reason = self._rejection(host, count)
        if not reason:
            self.waiting[host] = connection
            return True
        with contextlib.suppress(OSError):
            self.rejected[connection.getpeername()[0], host] = reason
        _send(connection, f"{_REPLY}host 0 rejected --host {host}: {reason}")
        return False

    def _rejection(self, host, count):
        if count != self.count:
            return f"its --hosts names {count} hosts, that of host 0 names {self.count}"
        if not 0 < host < count:
            return f"there are only {count} hosts"
        if host in self.waiting:
            return f"another process is host {host} already; give each its own --host"
        return ""

    def _failure(self, wait_s):
        missing = self._missing()
        if not missing:
            return ""
        rejected = "".join(
            f"; --host {host} from {address} was rejected: {reason}"
            for (address, host), reason in list(self.rejected.items())[:3]
        )
        return (
            f"{self.count - len(missing)} of {self.count} hosts connected within {wait_s} s, "
            f"missing: --host {', '.join(map(str, missing))}{rejected}; start the same command on "
            "each, with its own --host"
        )


def _listen(port):
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise InputError(
            f"--hosts: host 0 cannot listen at port {port} ({error.strerror}); end another --host "
            "0 that runs here, or use another port on all hosts"
        ) from error


def _connect(name, port, host, count, wait_s):
    """Hosts from 1 on: returns the connection on which host 0 says go; retries while none listens.

    Raises InputError after wait_s seconds, and when host 0 rejects this host.
    """
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.ExitStack() as stack:
            try:
                connection = socket.create_connection((name, port), timeout=min(5, wait_s))
                stack.enter_context(connection)
                reply = _request(connection, f"kseg {host} of {count}", wait_s)
                problem = f"the server at {name}:{port} is not a host 0 that waits"
            except OSError as error:
                reply, problem = "", f"nobody listens at {name}:{port} ({error})"
            if reply == _GO:
                stack.pop_all()
                return connection
        if reply:
            raise InputError(f"--hosts: {reply}")
        if time.monotonic() + _RETRY_S > deadline:
            raise InputError(
                f"--hosts: {problem} after {wait_s} s; start the same command with --host 0 there"
            )
        time.sleep(_RETRY_S)


def _request(connection, line, wait_s):
    """Returns host 0's reply, which comes when all are connected or it rejects this host.

    "" from any other server. The reply may take longer than our own wait_s, since host 0 may have
    started later.
    """
    _send(connection, line)
    connection.settimeout(wait_s + 5)
    received = b""
    while not received.endswith(b"\n") and len(received) < _MAX_LINE_BYTES:
        # Not a buffered file, which might read beyond the line.
        byte = connection.recv(1)
        if not byte:
            return ""
        received += byte
    reply = received[:-1].decode("utf-8", "replace")
    return reply.removeprefix(_REPLY) if reply.startswith(_REPLY) else ""


def _send(connection, line):
    with contextlib.suppress(OSError):
        connection.sendall(f"{line}\n".encode())
