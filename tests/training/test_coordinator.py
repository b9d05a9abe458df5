"""Hosts that meet, each a thread on loopback."""

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
    """A function that starts one host and returns what it will end with: None or an InputError."""
    pool = ThreadPoolExecutor(8)

    def host(number, count, wait_s=30):
        def come():
            try:
                return coordinator.wait_for_all("127.0.0.1", port, number, count, wait_s=wait_s)
            except InputError as error:
                return str(error)

        return pool.submit(come)

    yield host
    pool.shutdown()


def connect(port):
    """Connects as soon as somebody listens."""
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.05)


def wait_until_heard(port):
    """Waits until host 0 has dealt with all that was said to it: it hears guests in turn."""
    with connect(port) as stranger:
        stranger.sendall(b"?\n")
        assert stranger.recv(99) == b""


def test_hosts_meet_in_any_order_and_leave_the_port_to_others(start, port):
    second, first = start(2, 3), start(1, 3)
    time.sleep(0.2)  # Both find nobody yet.
    zero = start(0, 3)
    assert [f.result() for f in (zero, first, second)] == [None] * 3
    socket.create_server(("127.0.0.1", port)).close()


def test_host_0_says_who_is_missing_and_so_do_those_who_came(start):
    zero, first = start(0, 4, wait_s=4), start(1, 4)
    for told in (zero.result(), first.result()):
        assert "2 of 4 hosts came within 4 s, missing: --host 2, 3;" in told


def test_a_host_alone_waits_for_nobody(start):
    assert start(0, 1).result() is None


def test_nobody_at_the_port_is_said(start):
    assert "nobody answers at 127.0.0.1:" in start(1, 2, wait_s=1).result()


def test_a_number_taken_is_turned_away_and_the_others_go_on(start, port):
    zero = start(0, 3)
    with connect(port) as first:
        first.sendall(b"kseg 1 of 3\n")
        wait_until_heard(port)
        assert "another process came as host 1" in start(1, 3).result()
        assert start(2, 3).result() is None
        assert zero.result() is None
        assert first.recv(99) == b"kseg: go\n"


def test_another_number_of_hosts_is_turned_away_and_said_on_both_sides(start):
    zero = start(0, 2, wait_s=4)
    assert "its --hosts names 3 hosts, that of host 0 2" in start(1, 3).result()
    assert "turned away: its --hosts names 3 hosts" in zero.result()


def test_strangers_do_not_count(start, port):
    zero = start(0, 2)
    with connect(port), connect(port) as talker, connect(port) as half:
        talker.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert talker.recv(99) == b""
        half.shutdown(socket.SHUT_WR)
        assert half.recv(99) == b""
        assert not zero.done()
        assert start(1, 2).result() is None
    assert zero.result() is None


def test_a_host_that_ended_while_waiting_may_come_again(start, port):
    zero = start(0, 3)
    with connect(port) as first:
        first.sendall(b"kseg 1 of 3\n")
        wait_until_heard(port)
    wait_until_heard(port)
    again, second = start(1, 3), start(2, 3)
    assert [f.result() for f in (zero, again, second)] == [None] * 3


def test_another_server_at_the_port_is_not_believed(start, port):
    def greet(server):
        while True:
            try:
                with server.accept()[0] as guest:
                    guest.sendall(b"220 mail\r\n")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=greet, args=[server])
        thread.start()
        told = start(1, 2, wait_s=1).result()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "is no host 0 that waits" in told


def test_a_port_in_use_is_said(start, port):
    with socket.create_server(("", port)):
        assert (
            f"host 0 cannot listen at port {port} (Address already in use" in start(0, 2).result()
        )
