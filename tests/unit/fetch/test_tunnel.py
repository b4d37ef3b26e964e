"""All traffic goes to the addresses that were checked."""

import errno
import socket
import threading

import pytest

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.tunnel import Guard, Tunnel


@pytest.fixture
def echo():
    """A server that answers each connection with what it got first."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"got " + connection.recv(65536))

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def ask(tunnel, request):
    """Send one request to the tunnel; return all it answers."""
    port = int(tunnel.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while received := connection.recv(65536):
                answer += received
                if answer.endswith(b"established\r\n\r\n"):
                    connection.sendall(b"hello")
        except ConnectionResetError:
            pass
        return answer


def test_a_checked_host_is_connected_to_end_to_end(echo):
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        answer = ask(tunnel, f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode())
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\ngot hello"


def test_a_plain_request_reaches_the_server_in_its_own_form(echo):
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        head = f"GET http://127.0.0.1:{echo}/b?x=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
        assert ask(tunnel, head.encode()) == b"got GET /b?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def test_a_refused_host_gets_no_answer_and_its_reason_is_kept(echo):
    with Tunnel(Guard((), allow_private=False)) as tunnel:
        assert ask(tunnel, f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode()) == b""
        assert isinstance(tunnel.problem, FetchFailed)


def test_an_unreachable_port_is_worth_another_try():
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        assert ask(tunnel, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n") == b""
        assert isinstance(tunnel.problem, Transient)


CLOSED = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}
"""What a client meets that is not done sending, or not done saying so, when the other side closes."""


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\r\n\r\n", b"nonsense\r\n\r\n", b"CONNECT x:99999 H\r\n\r\n", b"a" * 70_000]
)
def test_a_request_that_makes_no_sense_is_closed(request_bytes):
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        port = int(tunnel.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            try:
                connection.sendall(request_bytes)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""
            except OSError as closed:
                if closed.errno not in CLOSED:
                    raise


def test_a_name_that_changes_its_address_after_the_check_changes_nothing(monkeypatch):
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    connected = []

    def resolve(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in answers.pop(0)]

    def connect(address, **_):
        connected.append(address)
        raise OSError("no network in this test")

    with Tunnel(Guard((), allow_private=False)) as tunnel:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(socket, "create_connection", connect)
        assert tunnel.connect("rebinding.example.com", 443) is None
        assert tunnel.connect("rebinding.example.com", 443) is None
    assert connected == [("8.8.8.8", 443)]
    assert "resolves to 127.0.0.1" in str(tunnel.problem)


@pytest.mark.parametrize("uri", ["https", "s3"])
def test_proxy_settings_of_the_secret_lead_nowhere_else(https, fetch, monkeypatch, uri):
    https.files["/b/model.onnx"] = b"weights"
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "AWS_PROXY_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "AWS_PROXY_EXCLUDES"):
        monkeypatch.setenv(name, "*")
    source = https.url("/b/model.onnx") if uri == "https" else "s3://b/model.onnx"
    https.listing = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    refused = fetch(source, AWS_ENDPOINT_URL=https.url(""), TRITONFLEET_FETCH_ALLOW_PRIVATE="false")
    assert "resolves to 127.0.0.1, a private address" in refused.message.replace("::1", "127.0.0.1")
    assert https.requests == []
    assert fetch(source, AWS_ENDPOINT_URL=https.url("")).files() == {"1/model.onnx": b"weights"}
