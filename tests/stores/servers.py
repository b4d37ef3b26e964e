"""Servers on loopback for tests of sources: real ones as processes, and doors in front of them that ask for a key.

Emulators let everyone in. A `Door` stands before one, notes each request and passes on what its `admits` lets through.
"""

import contextlib
import hashlib
import http.client
import http.server
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FROM_PYPI = ("mlflow-skinny", "olah", "oras")
FROM_NPM = ("azurite",)
"""Packages with servers, installed from the locks of devcluster/pins and devcluster/npm."""

ACCESS_KEY = "AKIATESTTESTTEST"
SECRET_KEY = "sEcReT/key+of=tests0123456789"
MODEL = hashlib.shake_256(b"model").digest(1024 * 1024 + 3)
HUGE = hashlib.shake_256(b"huge").digest(70 * 1024 * 1024)


@contextlib.contextmanager
def serving(*command: Any, port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a server until the block ends; yields once it listens, and fails with its log if it ends before."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            while not _listens(port):
                if server.poll() is not None:
                    log.seek(0)
                    raise AssertionError(log.read().decode())
                time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.wait(60)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
        return True
    return False


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Any
    body: bytes


@dataclass
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Certificate:
    """One for 127.0.0.1, which signs itself."""

    folder: Path

    def __post_init__(self) -> None:
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        made = ("openssl", "req", "-x509", *kind, *names, "-addext", "basicConstraints=critical,CA:FALSE")
        subprocess.run([*made, "-keyout", self.key, "-out", self.file], check=True, capture_output=True)

    @property
    def file(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"


@contextlib.contextmanager
def answering(answer: Callable[[Request], Answer], certificate: Certificate | None = None) -> Iterator[int]:
    """Serve https until the block ends, or plain http without a certificate; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            found = answer(Request(self.command, self.path, self.headers, body))
            self.send_response(found.status)
            for name, value in ({"Content-Length": str(len(found.body))} | found.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Door:
    """Passes requests on to a server once `admits` lets them; everyone else gets `refusal`."""

    port: int
    """Where the server behind it listens."""
    refusal: Answer
    admits: Callable[[Request], bool] = lambda _: True
    seen: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        self.seen.append(request)
        if not self.admits(request):
            return self.refusal
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(upstream):
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
            upstream.request(request.method, request.path, request.body, headers | {"Host": f"127.0.0.1:{self.port}"})
            answer = upstream.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            return Answer(answer.status, answer.read(), kept)


_OWN = {"authorization", "host"}
_HOP = {"connection", "transfer-encoding", "date", "server"}
