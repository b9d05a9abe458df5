"""Hosts that watch each other, in one process, over pairs of sockets."""

import contextlib
import queue
import socket

import pytest

from kseg.training.host_watch import HostWatch


@pytest.fixture
def hosts():
    """Three watches, each with its socket ends and the queue of the hosts that it has lost."""
    lost = [queue.Queue() for _ in range(3)]
    ends = {host: socket.create_server(("127.0.0.1", 0)) for host in (1, 2)}
    clients = {host: socket.create_connection(ends[host].getsockname()) for host in ends}
    servers = {host: ends[host].accept()[0] for host in ends}
    watches = [HostWatch(servers, lost[0].put)]
    watches += [HostWatch({0: clients[host]}, lost[host].put) for host in (1, 2)]
    yield watches, lost, servers, clients
    for each in (*servers.values(), *clients.values()):
        with contextlib.suppress(OSError):  # Shut down by the test.
            each.shutdown(socket.SHUT_RDWR)
    for watch in watches:
        watch.wait(30)
    for each in (*ends.values(), *servers.values(), *clients.values()):
        each.close()


def test_all_hosts_learn_which_host_has_gone(hosts):
    _, lost, _, clients = hosts
    clients[2].shutdown(socket.SHUT_RDWR)  # As the kernel does for a killed process.
    assert lost[0].get(timeout=30) == lost[1].get(timeout=30) == 2


def test_the_end_of_host_0_is_noticed_by_the_others(hosts):
    _, lost, servers, _ = hosts
    # For writing only: else this process' own watch of host 0 might report host 1 in between.
    for server in servers.values():
        server.shutdown(socket.SHUT_WR)
    assert lost[1].get(timeout=30) == lost[2].get(timeout=30) == 0


def test_hosts_that_have_finished_are_not_lost(hosts):
    watches, lost, _, clients = hosts
    watches[1].finish()
    clients[1].shutdown(socket.SHUT_WR)
    watches[0].finish()
    watches[2].finish()
    for watch in watches:
        watch.wait(30)
    assert all(each.empty() for each in lost)


def test_a_host_lost_after_another_has_finished_is_noticed(hosts):
    watches, lost, _, clients = hosts
    watches[1].finish()
    clients[2].shutdown(socket.SHUT_RDWR)
    assert lost[0].get(timeout=30) == 2
