"""kseg serve: what a browser gets, over http and https, and what is refused."""

import argparse
import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from kseg import serve
from tests.conftest import assert_one_line, command
from tests.golden_files import GOLDEN

MODEL = GOLDEN / "model.tflite"


@pytest.fixture
def page(tmp_path):
    """A folder like the built page, with a model of its own."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>kseg</title>")
    (folder / "assets" / "litert.wasm").write_bytes(b"\0asm")
    own = [{"name": "lanes", "file": "models/lanes.tflite"}]
    (folder / "models.json").write_text(json.dumps(own))
    return folder


@contextlib.contextmanager
def serving(page, *models, certificate=None, key=None):
    """Yields a function (path) -> response, and closes the server."""
    args = argparse.Namespace(
        models=models, host="127.0.0.1", port=0, certificate=certificate, key=key, page=page
    )
    server = serve.make_server(args)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheme = "https" if certificate else "http"
    trusted = ssl.create_default_context(cafile=certificate) if certificate else None
    if trusted:
        trusted.check_hostname = False  # The certificate is of a name, not of this address.
    base = f"{scheme}://127.0.0.1:{server.server_address[1]}/"
    try:
        yield lambda path: urllib.request.urlopen(base + path, context=trusted, timeout=30)
    finally:
        server.shutdown()
        server.server_close()


def test_the_page_and_models_come_with_the_headers_that_browsers_need(page, tmp_path):
    named = shutil.copy(MODEL, tmp_path / "my road #1.tflite")
    with serving(page, str(named)) as get:
        with get("") as response:
            headers = response.headers
            assert response.read() == b"<title>kseg</title>"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        with get("assets/litert.wasm") as response:
            assert response.headers["Content-Type"] == "application/wasm"
        with get("models.json") as response:
            listed = json.load(response)
        assert [model["name"] for model in listed] == ["my road #1.tflite", "lanes"]
        with get(listed[0]["file"]) as response:
            assert response.read() == MODEL.read_bytes()


@pytest.mark.parametrize(
    "path", ["assets/", "models/other.tflite", "../secret", "models/../secret"]
)
def test_nothing_else_is_served(page, path):
    (page.parent / "secret").write_text("private")
    with serving(page, str(MODEL)) as get, pytest.raises(urllib.error.HTTPError) as refused:
        get(path)
    assert refused.value.code == 404


def test_a_model_that_was_removed_is_not_found(page, tmp_path):
    model = shutil.copy(MODEL, tmp_path / "m.tflite")
    with serving(page, str(model)) as get:
        (tmp_path / "m.tflite").unlink()
        with pytest.raises(urllib.error.HTTPError) as refused:
            get("models/m.tflite")
    assert refused.value.code == 404


def test_https_with_the_certificate_that_help_makes(page, tmp_path):
    words = next(line for line in serve.EXAMPLES.splitlines() if "openssl req" in line).split()
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with serving(page, str(MODEL), certificate=str(certificate), key=str(key)) as get:
        assert get("").status == 200


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"models": ["no.tflite"]}, ["no.tflite", "no such file"]),
        ({"models": [MODEL, MODEL]}, ["same file name"]),
        ({"--page": "nowhere"}, ["--page nowhere", "not built", "npm"]),
        ({"--certificate": "cert.pem"}, ["give both"]),
        ({"--certificate": "no.pem", "--key": "no.pem"}, ["--certificate no.pem"]),
        ({"--port": "70000"}, ["--port 70000"]),
        ({"--host": "203.0.113.1"}, ["--host 203.0.113.1"]),
    ],
)
def test_what_cannot_be_served_is_one_line(page, capsys, change, parts):
    flags = {"--page": page, "--port": 0, **change}
    models = flags.pop("models", [MODEL])
    assert command(serve.main, [*models, *(x for flag in flags.items() for x in flag)]) == 2
    assert_one_line(capsys, *parts)


@pytest.mark.parametrize("has_segno", [True, False])
def test_an_address_for_a_phone_has_a_qr_code(page, capsys, monkeypatch, has_segno):
    drawn = []

    class Segno:
        @staticmethod
        def make(address, micro):
            return argparse.Namespace(terminal=lambda **_: drawn.append(address))

    monkeypatch.setitem(sys.modules, "segno", Segno if has_segno else None)
    monkeypatch.setattr(serve, "_own_address", lambda: "192.0.2.7")
    monkeypatch.setattr(serve.ThreadingHTTPServer, "serve_forever", lambda server: None)
    flags = ["--host", "0.0.0.0", "--port", "0", "--page", page]
    assert command(serve.main, [MODEL, *flags]) == 0
    out = capsys.readouterr().out
    assert "http://192.0.2.7:" in out and "--certificate" in out
    assert len(drawn) == has_segno and ("pip install segno" in out) == (not has_segno)
    assert drawn == [address for address in drawn if address in out]
