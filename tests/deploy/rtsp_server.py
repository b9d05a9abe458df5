"""A network camera on the loopback: JPEG over RTP in an RTSP connection; it can stall and hang up.

RTSP: RFC 2326, with packets interleaved in its TCP connection (10.12). JPEG over RTP: RFC 2435.
"""

import contextlib
import itertools
import socketserver
import struct
import threading

import cv2
import numpy as np

from tests.deploy.mjpeg_server import LIMIT_S, MjpegServer

SIZE = (48, 64)  # (height, width), multiples of 8.
JPEG_TYPE = 26  # RTP's static payload type.
CLOCK_HZ = 90_000
PERIOD_S = 0.02
MAX_BYTES = 1200  # of a packet's part of the scan

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=kseg\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:0\r\n"
)


class RtspServer(MjpegServer):
    """Context manager. Sends a 64x48 frame about every 20 ms to every client that plays.

    silent: accepts clients but never sends a byte. port 0: any that is free.
    """

    def __init__(self, *, port=0, silent=False):
        self.silent, self.clients = silent, 0
        self._stalled, self._ended = threading.Event(), threading.Event()
        self._server = Server(("127.0.0.1", port), Connection)
        self._server.camera = self
        self.port = self._server.server_address[1]
        self.url = f"rtsp://user:secret@127.0.0.1:{self.port}/video"

    def waits(self, seconds):
        """Waits. Returns whether the server has been closed."""
        return self._ended.wait(seconds)

    def stalls(self):
        return self._stalled.is_set()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        camera = self.server.camera
        camera.clients += 1
        if camera.silent:
            camera.waits(LIMIT_S)
            return
        with contextlib.suppress(OSError):
            while self._answer_request():
                pass
            self._play(camera)

    def _answer_request(self):
        """Answers one request. Returns whether more follow before the frames."""
        request = self.rfile.readline().decode().split()
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if not request:
            raise OSError("the client hung up")
        answer = [f"CSeq: {headers['cseq']}"]
        body = ""
        if request[0] == "OPTIONS":
            answer.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif request[0] == "DESCRIBE":
            body = SDP
            answer += ["Content-Type: application/sdp", f"Content-Length: {len(SDP)}"]
        elif request[0] == "SETUP":
            assert "interleaved" in headers["transport"], headers
            answer += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        else:
            answer.append("Session: 1")
        self.wfile.write("\r\n".join(["RTSP/1.0 200 OK", *answer, "", body]).encode())
        return request[0] != "PLAY"

    def _play(self, camera):
        noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
        sequence = itertools.count()
        ticks = int(PERIOD_S * CLOCK_HZ)
        for number in itertools.count():
            if camera.waits(PERIOD_S):
                return
            if not camera.stalls():
                for packet in rtp_packets(jpeg, number * ticks, sequence):
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def rtp_packets(jpeg, time, sequence):
    """Yields the RTP packets of one baseline JPEG (4:2:0, standard Huffman tables) of SIZE."""
    tables, scan = parse_jpeg(jpeg)
    for offset in range(0, len(scan), MAX_BYTES):
        part = scan[offset : offset + MAX_BYTES]
        last = offset + MAX_BYTES >= len(scan)
        head = struct.pack(
            ">BBHII", 0x80, JPEG_TYPE | last << 7, next(sequence) & 0xFFFF, time & 0xFFFFFFFF, 1
        )
        # Fragment offset (24 bits), type 1 (4:2:0), Q 255 (the tables follow), size in blocks of 8.
        head += struct.pack(">IBBBB", offset, 1, 255, SIZE[1] // 8, SIZE[0] // 8)
        if offset == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield head + part


def parse_jpeg(jpeg):
    """Returns a baseline JPEG's quantization tables (64 bytes each) and its scan."""
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack_from(">HH", jpeg, at)
        body = jpeg[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            tables += b"".join(body[i + 1 : i + 65] for i in range(0, len(body), 65))
        if marker == 0xFFDA:
            return tables, jpeg[at : jpeg.rindex(b"\xff\xd9")]
