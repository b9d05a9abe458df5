"""A network camera on the loopback: MJPEG over HTTP, which can stall, hang up and come back."""

import contextlib
import http.server
import threading

import cv2
import numpy as np

LIMIT_S = 120  # Turns a test that hangs into one that fails.


class MjpegServer:
    """Context manager. Sends a 64x48 frame about every 20 ms to every client.

    silent: accepts clients but never sends a byte. port 0: any that is free. jpeg: the frame.
    """

    def __init__(self, *, port=0, silent=False):
        self._stalled, self._ended = threading.Event(), threading.Event()
        self.clients = self._abandoned = 0
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        self.jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler(silent))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://user:secret@127.0.0.1:{self.port}/video"

    def stall(self):
        """Keeps the connections open but sends nothing more."""
        self._stalled.set()

    def abandon_clients(self):
        """Keeps the connections open but sends on new ones only."""
        self._abandoned = self.clients

    def resume(self):
        self._stalled.clear()

    def _handler(camera, silent):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                camera.clients += 1
                number = camera.clients
                if silent:
                    camera._ended.wait(LIMIT_S)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                with contextlib.suppress(OSError):
                    while not camera._ended.wait(0.02):
                        if number > camera._abandoned and not camera._stalled.is_set():
                            jpeg = camera.jpeg
                            self.wfile.write(head % len(jpeg) + jpeg + b"\r\n")

            def log_message(self, *_):
                pass

        return Handler

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Hangs up on all clients and stops listening."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
