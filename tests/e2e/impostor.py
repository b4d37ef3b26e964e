"""Stands before the metrics port of a pod, in its network namespace, and says what its name on the command line says.

Run by itself, with nothing but Python's standard library: `python impostor.py KIND PORT`.
"""

import re
import sys
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REAL = "http://127.0.0.1:8002/metrics"
NUMBER = re.compile(rb" [0-9.e+-]+$", re.MULTILINE)
OF_A_MODEL = re.compile(rb"^nv_inference_.*\n", re.MULTILINE)


def real() -> bytes:
    """Return what Triton itself says now."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(REAL, timeout=2) as answer:
        return bytes(answer.read())


FROZEN: list[bytes] = []


def frozen() -> bytes:
    """Return what Triton said when it was asked first."""
    if not FROZEN:
        FROZEN.append(real())
    return FROZEN[0]


ANSWERS: dict[str, Callable[[], tuple[int, bytes]]] = {
    "errors": lambda: (500, b"out of order"),
    "garbage": lambda: (200, bytes(range(256)) * 16),
    "not-a-number": lambda: (200, NUMBER.sub(b" NaN", real())),
    "nothing-of-the-model": lambda: (200, OF_A_MODEL.sub(b"", real())),
    "standing-still": lambda: (200, frozen()),
}


def handler(kind: str) -> type[BaseHTTPRequestHandler]:
    """Return the handler of requests that answers as `kind` says."""

    class Impostor(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = ANSWERS[kind]()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Impostor


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    with ThreadingHTTPServer(("", int(port)), handler(kind)) as server:
        server.serve_forever()
