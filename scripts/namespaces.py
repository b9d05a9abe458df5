"""Network namespaces of this machine as hosts of a network, each with a name and an address."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kseg.errors import InputError

SUBNET = "10.77.0."  # Within the namespaces only, so that scripts can run at the same time.


def check_machine(script: str):
    """Raises InputError where namespaces cannot be made."""
    if os.geteuid() != 0:
        raise InputError(f"{script}: network namespaces need root; run it as root")
    if not shutil.which("ip") or not shutil.which("unshare"):
        raise InputError(f"{script}: no command `ip` or `unshare`; apt-get install iproute2")
    try:
        name = f"kseg-{os.getpid()}"  # Another script may be trying too.
        with network([name]):
            ip(f"netns exec {name} true")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip()
        raise InputError(f"{script}: this machine cannot make the network ({reason})") from error


def ip(*commands: str):
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@contextlib.contextmanager
def network(names: list[str]) -> Iterator[None]:
    """Hosts with the addresses SUBNET 1, 2, ... on one bridge; names as in /etc/hosts.

    Names have at most 15 characters, and belong to one script. The bridge is in a namespace too, so
    the machine's own network stays as it is.
    """
    addresses = {name: f"{SUBNET}{number}" for number, name in enumerate(names, 1)}
    switch = f"{names[0]}-switch"
    _remove(names, switch)  # Of a killed run.
    try:
        ip(f"netns add {switch}", f"-n {switch} link add bridge type bridge")
        ip(f"-n {switch} link set bridge up")
        for name, address in addresses.items():
            ip(
                f"netns add {name}",
                f"-n {name} link add eth0 type veth peer name {name} netns {switch}",
                f"-n {switch} link set {name} master bridge up",
                f"-n {name} address add {address}/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} link set lo up",
            )
            # `ip netns exec` lays this over /etc/hosts.
            own = Path("/etc/netns", name)
            own.mkdir(parents=True, exist_ok=True)
            lines = ["127.0.0.1 localhost", *(f"{a} {n}" for n, a in addresses.items())]
            (own / "hosts").write_text("\n".join(lines) + "\n")
        yield
    finally:
        _remove(names, switch)


def _remove(names, switch):
    for name in (*names, switch):
        with contextlib.suppress(subprocess.CalledProcessError):
            ip(f"netns del {name}")
        shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


class HostProcess:
    """A command that runs on a host; its output goes to LOG.out and LOG.err."""

    def __init__(
        self, host: str, command: list, log: Path, environment: dict[str, str] | None = None
    ):
        self.host = host
        # A host name of its own, under which the others find it.
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
        self.logs = [log.with_name(f"{log.name}.{end}") for end in ("out", "err")]
        with self.logs[0].open("w") as stdout, self.logs[1].open("w") as stderr:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", host, *named, *map(str, command)],
                cwd=Path(__file__).resolve().parents[1],
                env=os.environ | (environment or {}),
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # So that it can be killed with its children.
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def stdout(self) -> str:
        return self.logs[0].read_text()

    @property
    def stderr(self) -> str:
        return self.logs[1].read_text()

    def kill(self):
        """Kills the command and its children at once (SIGKILL), as when the host loses power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
