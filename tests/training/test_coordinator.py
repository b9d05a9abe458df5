"""Hosts that wait for each other, each a thread on loopback."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kseg.errors import InputError
from kseg.training import coordinator


@pytest.fixture
def port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def start(port):
    """A function that starts one host.

    Returns its future result: the numbers of the hosts it is connected with, or an error message.
    """
    pool = ThreadPoolExecutor(8)
    connections = []

    def host(number, count, wait_s=30):
        def connect_host():
            try:
                met = coordinator.wait_for_all("127.0.0.1", port, number, count, wait_s=wait_s)
            except InputError as error:
                return str(error)
            connections.extend(met.values())
            return set(met)

        return pool.submit(connect_host)

    yield host
    pool.shutdown()
    for connection in connections:
        connection.close()


def connect(port):
    """Connects as soon as a server listens."""
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.05)


def wait_until_read(port):
    """Waits until host 0 has read all that was sent to it so far: it reads in order."""
    with connect(port) as other:
        other.sendall(b"?\n")
        assert other.recv(99) == b""


def test_hosts_connect_in_any_order_and_then_free_the_port(start, port):
    second, first = start(2, 3), start(1, 3)
    time.sleep(0.2)  # Nobody listens yet.
    zero = start(0, 3)
    assert [f.result() for f in (zero, first, second)] == [{1, 2}, {0}, {0}]
    socket.create_server(("127.0.0.1", port)).close()


def test_all_hosts_report_which_hosts_are_missing(start):
    zero, first = start(0, 4, wait_s=4), start(1, 4)
    for message in (zero.result(), first.result()):
        assert "2 of 4 hosts" in message and "missing: --host 2, 3;" in message


def test_a_single_host_does_not_wait(start):
    assert start(0, 1).result() == set()


def test_a_missing_host_0_is_reported(start):
    assert "nobody listens at 127.0.0.1:" in start(1, 2, wait_s=1).result()


def test_a_number_in_use_is_rejected_and_the_others_continue(start, port):
    zero = start(0, 3)
    with connect(port) as first:
        first.sendall(b"kseg 1 of 3\n")
        wait_until_read(port)
        assert "another process is host 1" in start(1, 3).result()
        assert start(2, 3).result() == {0}
        assert zero.result() == {1, 2}
        assert first.recv(99) == b"kseg: go\n"


def test_another_number_of_hosts_is_rejected_and_reported_on_both_sides(start):
    zero = start(0, 2, wait_s=4)
    assert "its --hosts names 3 hosts" in start(1, 3).result()
    assert "rejected: its --hosts names 3 hosts" in zero.result()


def test_other_connections_do_not_count(start, port):
    zero = start(0, 2)
    with connect(port), connect(port) as talker, connect(port) as half:
        talker.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert talker.recv(99) == b""
        half.shutdown(socket.SHUT_WR)
        assert half.recv(99) == b""
        assert not zero.done()
        assert start(1, 2).result() == {0}
    assert zero.result() == {1}


def test_a_host_that_ended_while_waiting_may_connect_again(start, port):
    zero = start(0, 3)
    with connect(port) as first:
        first.sendall(b"kseg 1 of 3\n")
        wait_until_read(port)
    wait_until_read(port)
    again, second = start(1, 3), start(2, 3)
    assert [f.result() for f in (zero, again, second)] == [{1, 2}, {0}, {0}]


def test_another_server_at_the_port_is_not_taken_for_host_0(start, port):
    def greet(server):
        while True:
            try:
                with server.accept()[0] as client:
                    client.sendall(b"220 mail\r\n")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=greet, args=[server])
        thread.start()
        message = start(1, 2, wait_s=1).result()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "is not a host 0" in message


def test_a_port_in_use_is_reported(start, port):
    with socket.create_server(("", port)):
        assert f"port {port} (Address already in use" in start(0, 2).result()
