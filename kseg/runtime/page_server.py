"""An HTTP server of the built page (deploy/web), with models added to its own."""

import json
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kseg.errors import InputError

PAGE = Path(__file__).parents[2] / "deploy" / "web" / "dist"
BUILD = "npm --prefix deploy/web ci && npm --prefix deploy/web run build"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
        "connect-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob: mediastream:; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}
TYPES = {
    ".wasm": "application/wasm",
    ".js": "text/javascript",
    ".tflite": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
}


class PageHandler(SimpleHTTPRequestHandler):
    """Serves the page's folder, with models added to its own."""

    def __init__(self, *args: Any, models: Mapping[str, Path], directory: str):
        self.models = models  # by file name
        self.extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}
        super().__init__(*args, directory=directory)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/models.json":
            self.send_bytes(self._list_models(), "application/json")
        elif path.startswith("/models/") and path.removeprefix("/models/") in self.models:
            model = self.models[path.removeprefix("/models/")]
            try:
                self.send_bytes(model.read_bytes(), TYPES[".tflite"])
            except OSError as error:
                self.send_error(404, str(error.strerror))
        else:
            super().do_GET()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the page itself reports what is wrong."""

    def _list_models(self) -> bytes:
        served = [
            {"name": name, "file": f"models/{quote(name)}", "served": True} for name in self.models
        ]
        own = json.loads((Path(self.directory) / "models.json").read_text())
        files = {model["file"] for model in served}
        return json.dumps(served + [m for m in own if m["file"] not in files]).encode()

    def send_bytes(self, body: bytes, content_type: str) -> None:
        """Sends a complete response."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def check_page(folder: Path) -> None:
    """Raises InputError unless a folder is the built page."""
    if not (folder / "models.json").is_file():
        raise InputError(
            f"--page {folder}: the page is not built; in a checkout, with Node.js: {BUILD}"
        )
