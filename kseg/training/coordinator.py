"""Several hosts find each other before JAX is asked to, which ends the first with no clear word.

Host 0 listens at its port, the others connect and say "kseg HOST of COUNT". Once all are there,
each is told to go on, and the port is left to JAX. Whatever else connects is not counted.
"""

import contextlib
import re
import selectors
import socket
import time

from kseg.errors import InputError

_HELLO = re.compile(rb"kseg (\d{1,6}) of (\d{1,6})\n")
_GO = "go"
_ANSWER = "kseg: "  # Begins what host 0 says, so that another server is not believed.
_LINE = 4096  # Bytes; an answer has fewer.
_PAUSE_S = 0.5


def wait_for_all(name, port, host, count, *, wait_s):
    """Returns once all `count` hosts are there; this one is number `host`, host 0 is at name:port.

    Raises InputError when host 0 cannot listen, when somebody does not come within wait_s seconds,
    and on a host that host 0 turns away: its number is taken, or it expects another `count`.
    A host that ends while it waits may come again.
    """
    if host:
        _come(name, port, host, count, wait_s)
    elif count > 1:
        _gather(port, count, wait_s)


def _gather(port, count, wait_s):
    waiting, refused = {}, {}  # Number -> connection; address -> why.
    end = time.monotonic() + wait_s
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(_listen(port))
        selector = opened.enter_context(selectors.DefaultSelector())
        selector.register(listener, selectors.EVENT_READ)
        while len(waiting) < count - 1 and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fileobj is listener:
                    with contextlib.suppress(OSError):  # Gone again before it was let in.
                        guest = opened.enter_context(listener.accept()[0])
                        guest.setblocking(False)
                        selector.register(guest, selectors.EVENT_READ)
                elif not _let_in(key.fileobj, count, waiting, refused):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
        missing = [host for host in range(1, count) if host not in waiting]
        reason = _reason(missing, refused, count, wait_s)
        for guest in waiting.values():
            _say(guest, _ANSWER + (reason or _GO))
    if reason:
        raise InputError(f"--hosts: {reason}")


def _let_in(guest, count, waiting, refused):
    """Hears a guest out. Returns whether it waits on."""
    try:
        said = guest.recv(_LINE)
    except OSError:
        said = b""
    for host in [host for host, known in waiting.items() if known is guest]:
        del waiting[host]  # It has nothing more to say: it ended.
        return False
    hello = _HELLO.fullmatch(said)
    if not hello:
        return False
    host, expected = map(int, hello.groups())
    if expected != count:
        reason = f"its --hosts names {expected} hosts, that of host 0 {count}"
    elif not 0 < host < count:
        reason = f"there are only {count} hosts"
    elif host in waiting:
        reason = f"another process came as host {host}; give each a --host of its own"
    else:
        waiting[host] = guest
        return True
    with contextlib.suppress(OSError):
        refused[guest.getpeername()[0], host] = reason
    _say(guest, f"{_ANSWER}host 0 turned --host {host} away: {reason}")
    return False


def _reason(missing, refused, count, wait_s):
    if not missing:
        return ""
    names = ", ".join(map(str, missing))
    away = "".join(
        f"; --host {host} from {address} was turned away: {reason}"
        for (address, host), reason in list(refused.items())[:3]
    )
    return (
        f"{count - len(missing)} of {count} hosts came within {wait_s} s, missing: --host {names}"
        f"{away}; start the same command on each, with its own --host"
    )


def _listen(port):
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise InputError(
            f"--hosts: host 0 cannot listen at port {port} ({error.strerror}); is another --host 0 "
            "running here? end it, or take another port on all hosts"
        ) from error


def _come(name, port, host, count, wait_s):
    end = time.monotonic() + wait_s
    while True:
        try:
            answer = _ask(name, port, f"kseg {host} of {count}", wait_s)
            trouble = f"what listens at {name}:{port} is no host 0 that waits"
        except OSError as error:
            answer, trouble = "", f"nobody answers at {name}:{port} ({error})"
        if answer == _GO:
            return
        if answer:
            raise InputError(f"--hosts: {answer}")
        if time.monotonic() + _PAUSE_S > end:
            raise InputError(
                f"--hosts: {trouble} after {wait_s} s; start the same command with --host 0 there"
            )
        time.sleep(_PAUSE_S)


def _ask(name, port, hello, wait_s):
    """Returns what host 0 answers, once all are there or as soon as it refuses; "" for a stranger.

    Host 0 may have started later, so that its own time runs out after ours.
    """
    with socket.create_connection((name, port), timeout=min(5, wait_s)) as connection:
        _say(connection, hello)
        connection.settimeout(wait_s + 5)
        said = connection.makefile("rb").readline(_LINE)
    if not said.endswith(b"\n"):
        return ""
    answer = said[:-1].decode("utf-8", "replace")
    return answer.removeprefix(_ANSWER) if answer.startswith(_ANSWER) else ""


def _say(connection, line):
    with contextlib.suppress(OSError):
        connection.sendall(f"{line}\n".encode())
