"""HTML pages in tests: a strict parser, and a headless Chromium driven over a DevTools pipe.

No package is needed for the browser: it speaks the DevTools protocol over a pipe.
"""

import itertools
import json
import os
import select
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
VOID = {"img", "input", "meta"}  # Tags without an end.


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on tags that are not properly nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def find_browser():
    """The browser's path; skips the test if none is installed."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")


class Browser:
    """One tab. `problems` are errors of scripts and the page, and network requests, but for those
    to `origin`. flags: more of Chromium's, instead of --disable-gpu."""

    def __init__(self, profile, flags=("--disable-gpu",), origin="file:"):
        self.origin = origin
        program = find_browser()
        read_commands, self.commands = os.pipe()
        self.responses, write_responses = os.pipe()
        # Chromium reads commands on descriptor 3 and writes responses to 4.
        shell = f'exec 3<&{read_commands} 4>&{write_responses}; exec "$@"'
        flags = ["--headless=new", "--no-sandbox", "--no-first-run", *flags]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars"]
        flags += ["--disable-dev-shm-usage"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *flags],
            pass_fds=(read_commands, write_responses),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_responses)
        self.numbers, self.unread, self.session = itertools.count(1), b"", None
        self.problems, self.loaded = [], False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self.commands)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.responses)

    def call(self, method, **params):
        """Sends a command and returns its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        while True:
            message = self._message()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url, size, **features):
        """Loads a page in a window of size (width, height); features: CSS media features."""
        width, height = size
        self.problems.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        listed = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=listed)
        self.loaded = False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self._message()

    def value(self, expression):
        """The value of a JavaScript expression, passed as JSON."""
        response = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in response, response
        return response["result"].get("value")

    def press(self, key, code=0, modifiers=0):
        """Presses a key; the page handles it as one from a keyboard."""
        code = code or {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Enter": 13, "End": 35}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
                **text,
            )

    def _message(self):
        while b"\0" not in self.unread:
            assert select.select([self.responses], [], [], 60)[0], "the browser does not respond"
            data = os.read(self.responses, 1 << 20)
            assert data, "the browser ended"
            self.unread += data
        text, self.unread = self.unread.split(b"\0", 1)
        message = json.loads(text)
        self._record(message.get("method"), message.get("params"))
        return message

    def _record(self, method, params):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith((self.origin, "file:", "data:", "about:", "blob:")):
                self.problems.append(f"request to {url}")
