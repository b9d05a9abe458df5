"""python -m kseg.serve: serves the page that runs models in a browser (deploy/web)."""

import argparse
import contextlib
import socket
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from kseg import published_models
from kseg.errors import InputError, run
from kseg.runtime.page_server import PAGE, PageHandler, check_page

LOOPBACK = "127.0.0.1"
EXAMPLES = """examples:
  python -m kseg.serve road.tflite                     open http://127.0.0.1:8000
  python -m kseg.serve lanes                           a published model
  python -m kseg.serve road.tflite --host 0.0.0.0      for a phone in the same network

The model runs in the browser: frames never leave the phone. Browsers give a page the camera, and
WebAssembly threads, only over https or on the computer itself. For a phone's camera:
  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=kseg -keyout key.pem -out cert.pem
  python -m kseg.serve road.tflite --host 0.0.0.0 --certificate cert.pem --key key.pem
The phone warns once, because nobody else vouches for this certificate.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.serve",
        description="Serves a page that runs models in a browser: a computer's or a phone's.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help=".tflite files, or published models"
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default=LOOPBACK,
        help="address to listen on; 0.0.0.0: all (default: 127.0.0.1, this computer only)",
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=8000, help="0: any free one (default: 8000)"
    )
    parser.add_argument("--certificate", metavar="FILE", help="PEM certificate: serves https")
    parser.add_argument("--key", metavar="FILE", help="PEM private key of --certificate")
    parser.add_argument(
        "--page",
        metavar="FOLDER",
        default=PAGE,
        help="the built page (default: deploy/web/dist of the checkout)",
    )
    return serve(parser.parse_args(argv))


def serve(args: argparse.Namespace) -> int:
    """Runs the command until Ctrl-C. Returns its exit code."""
    with make_server(args) as server:
        scheme = "https" if args.certificate else "http"
        host = _own_address() if args.host in ("0.0.0.0", "::") else args.host
        address = f"{scheme}://{host}:{server.server_address[1]}"
        print(f"{', '.join(map(str, args.models))} at {address} (Ctrl-C ends it)", flush=True)
        if args.host != LOOPBACK:
            _print_qr_code(address)
            if not args.certificate:
                print("Over http a phone gives no camera: see --certificate", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def make_server(args: argparse.Namespace) -> ThreadingHTTPServer:
    """Returns a server that listens. Raises InputError."""
    models = {}
    for name in args.models:
        path = Path(published_models.tflite_file(name))
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.name in models:
            raise InputError(f"{path}: another MODEL has the same file name")
        models[path.name] = path
    check_page(Path(args.page))
    if bool(args.certificate) != bool(args.key):
        raise InputError("--certificate and --key: give both")
    handler = partial(PageHandler, models=models, directory=str(args.page))
    try:
        server = ThreadingHTTPServer((args.host, args.port), handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {args.host} --port {args.port}: {error}") from error
    if args.certificate:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(args.certificate, args.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        except OSError as error:
            server.server_close()
            raise InputError(
                f"--certificate {args.certificate} --key {args.key}: {error}"
            ) from error
    return server


def _own_address() -> str:
    """Returns this computer's address in its network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # Sends nothing: the system only chooses a route.
        return probe.getsockname()[0]
    return socket.gethostname()


def _print_qr_code(address: str) -> None:
    try:
        import segno
    except ImportError:
        print("For a QR code: pip install segno", flush=True)
        return
    segno.make(address, micro=False).terminal(compact=True, border=2)


if __name__ == "__main__":
    sys.exit(run(main))
