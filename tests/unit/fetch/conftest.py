"""A real https source for the fetch step, which misbehaves on demand."""

import http.server
import re
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fetched import Outcome
from tritonfleet.fetch import main, transfer


@dataclass
class Authority:
    """A private certificate authority and one server certificate for localhost."""

    certificate: Path
    server_certificate: Path
    server_key: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    subject = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    (folder / "names").write_text(subject)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@dataclass
class Script:
    """What the https server serves, and how it misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Answers to give before the real one, by path."""
    redirects: dict[str, str] = field(default_factory=dict)
    drop_after: dict[str, list[int | None]] = field(default_factory=dict)
    """Bytes after which to cut the connection, one entry per GET, by path; None lets one pass."""
    ignores_ranges: bool = False
    refuses_head: bool = False
    etag: str | None = '"one"'
    chunk_pause_seconds: float = 0.0
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Method, path, Range and Authorization of each request."""
    listing: bytes | None = None
    """The answer to a request to list a bucket."""
    port: int = 0
    authority: Path | None = None

    def url(self, path, host="localhost"):
        return f"https://{host}:{self.port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        script, path = self.script, self.path
        script.requests.append((self.command, path, self.headers["Range"], self.headers["Authorization"]))
        pending = script.statuses.get(path)
        if pending and with_body:
            return self._finish(pending.pop(0), b"busy", with_body=True)
        if script.listing is not None and "list-type=2" in path:
            return self._finish(200, script.listing, with_body=with_body)
        if not with_body and script.refuses_head:
            return self._finish(405, b"", with_body=False)
        if path in script.redirects:
            return self._finish(302, b"", with_body=with_body, Location=script.redirects[path])
        if path not in script.files:
            return self._finish(404, b"", with_body=with_body)
        body, status, headers = script.files[path], 200, {}
        if script.etag:
            headers["ETag"] = script.etag
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if asked and not script.ignores_ranges:
            start, end = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            body, status = body[start : end + 1], 206
        drops = script.drop_after.get(path)
        cut = drops.pop(0) if drops and with_body else None
        return self._finish(status, body, with_body=with_body, cut=cut, **headers)

    def _finish(self, status, body, *, with_body, cut=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        sent = body[:cut] if cut is not None else body
        for start in range(0, len(sent), 1 << 20):
            time.sleep(self.script.chunk_pause_seconds)
            self.wfile.write(sent[start : start + (1 << 20)])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def https(authority):
    script = Script(authority=authority.certificate)
    handler = type("Handler", (_Handler,), {"script": script})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server_certificate, authority.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    script.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield script
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(tmp_path, authority, capfd):
    """Run the fetch step in this process, with the environment that the operator gives it."""
    (tmp_path / "models").mkdir()
    (tmp_path / "overlay.pbtxt").write_text('backend: "onnxruntime"\nmax_batch_size: 8\n')
    log = tmp_path / "termination-log"

    def run(uri, **changes):
        log.write_text("")
        environment = {
            "TRITONFLEET_FETCH_URI": uri,
            "TRITONFLEET_FETCH_MODEL": "resnet",
            "TRITONFLEET_FETCH_TARGET": str(tmp_path / "models"),
            "TRITONFLEET_FETCH_CONFIG": str(tmp_path / "overlay.pbtxt"),
            "TRITONFLEET_FETCH_SOURCE": str(tmp_path / "claim"),
            "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
            "CA_CERTIFICATE": authority.certificate.read_text(),
        } | changes
        code = main(environment, log)
        return Outcome(code, log.read_text(), capfd.readouterr().out, tmp_path / "models" / "resnet")

    return run


@pytest.fixture
def impatient(monkeypatch):
    """Retry as often as in production, without the pauses."""
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_SECONDS", 0.0)
