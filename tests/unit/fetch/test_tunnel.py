"""All traffic goes to the addresses that were checked."""

import errno
import os
import random
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.tunnel import Guard, Proxy, Tunnel


@contextmanager
def listening(answer):
    """Listen on loopback and let `answer` serve each connection; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def repeat(connection):
    connection.sendall(b"got " + connection.recv(65536))


def repeat_all(connection):
    while received := connection.recv(65536):
        connection.sendall(received)


@pytest.fixture
def echo():
    """A server that answers each connection with what it got first."""
    with listening(repeat) as port:
        yield port


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


@pytest.fixture
def counting():
    """A server that answers every request of a connection with the number of that connection and the request's line."""
    found = SimpleNamespace(connections=0, port=0)

    def answer(connection):
        found.connections += 1
        while request := connection.recv(65536):
            connection.sendall(f"{found.connections} {request.decode().splitlines()[0]}\n".encode())

    with listening(answer) as found.port:
        yield found


def sent(connection, *lines):
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection.recv(65536).decode()


def test_requests_without_tls_to_one_host_share_a_checked_connection(counting):
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        port = int(tunnel.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            line = "GET http://127.0.0.1:{}/{} HTTP/1.1"
            answers = [sent(connection, line.format(counting.port, number), "Host: h") for number in range(3)]
    assert answers == [f"1 GET /{number} HTTP/1.1\n" for number in range(3)]


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.169.254", "LOCALHOST"])
def test_no_second_request_of_a_connection_reaches_another_host(counting, host):
    with Tunnel(Guard((), allow_private=True)) as tunnel:
        port = int(tunnel.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            assert sent(connection, f"GET http://127.0.0.1:{counting.port}/a HTTP/1.1", "Host: h")
            assert sent(connection, f"GET http://{host}:{counting.port}/b HTTP/1.1", "Host: h") == ""
    assert counting.connections == 1


@pytest.mark.parametrize("header", ["Connection: keep-alive", "Proxy-Connection: close", "Content-Length: 0"])
def test_a_request_with_a_word_about_its_connection_or_a_body_is_the_last_of_its_connection(header):
    with listening(repeat_all) as server, Tunnel(Guard((), allow_private=True)) as tunnel:
        port = int(tunnel.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            first = sent(connection, f"GET http://127.0.0.1:{server}/a HTTP/1.1", "Host: h")
            second = sent(connection, f"GET http://127.0.0.1:{server}/b HTTP/1.1", header)
    assert "Connection" not in first
    assert "\r\nConnection: close\r\n" in second


@pytest.mark.parametrize("has_splice", [True, False])
def test_many_bytes_arrive_as_they_were_sent(has_splice, monkeypatch):
    if not has_splice:

        def missing(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(os, "splice", missing)
    content = random.Random(0).randbytes(5_000_000)

    def answer_in_full(connection):
        connection.recv(65536)
        connection.sendall(content)

    with listening(answer_in_full) as server, Tunnel(Guard((), allow_private=True)) as t:
        answer = ask(t, f"CONNECT 127.0.0.1:{server} HTTP/1.1\r\n\r\n".encode())
    assert answer.removeprefix(b"HTTP/1.1 200 Connection established\r\n\r\n") == content


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


@pytest.fixture
def onward():
    """A proxy that answers with what `answers` holds next and sends on nothing; what it was asked is in `asked`."""
    found = SimpleNamespace(answers=[b"HTTP/1.1 200 OK\r\n\r\n"], asked=[], port=0)

    def answer(connection):
        found.asked.append(connection.recv(65536))
        connection.sendall(found.answers[0])
        if b" 200 " in found.answers[0]:
            repeat(connection)

    with listening(answer) as found.port:
        yield found


def test_a_host_outside_is_reached_through_the_proxy_by_its_name(onward):
    with Tunnel(Guard((), allow_private=False), Proxy("127.0.0.1", onward.port)) as tunnel:
        answer = ask(tunnel, b"CONNECT models.example.com:443 HTTP/1.1\r\n\r\n")
    assert onward.asked == [b"CONNECT models.example.com:443 HTTP/1.1\r\nHost: models.example.com:443\r\n\r\n"]
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\ngot hello"


def test_a_plain_request_reaches_the_proxy_with_the_whole_address(onward):
    onward.answers[0] = b"HTTP/1.1 404 Not Found\r\n\r\n"
    with Tunnel(Guard((), allow_private=False), Proxy("127.0.0.1", onward.port)) as tunnel:
        ask(tunnel, b"GET http://s3.example.com/b?x=1 HTTP/1.1\r\nHost: s3.example.com\r\n\r\n")
    assert onward.asked[0].startswith(b"GET http://s3.example.com/b?x=1 HTTP/1.1\r\nHost: s3.example.com\r\n")


@pytest.mark.parametrize(
    ("host", "bypass"),
    [
        ("127.0.0.1", ("127.0.0.0/8",)),
        ("localhost", ("localhost",)),
        ("LOCALHOST", ("10.0.0.0/8", "localhost")),
        ("a.localhost", ("*.localhost",)),
        ("a.localhost", (".localhost",)),
        ("a.localhost", ("localhost",)),
    ],
)
def test_what_the_administrator_excepts_is_reached_directly(echo, onward, host, bypass, monkeypatch):
    lookup = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: lookup("127.0.0.1", *rest, **more))
    with Tunnel(Guard((), allow_private=True), Proxy("127.0.0.1", onward.port, bypass)) as tunnel:
        assert ask(tunnel, f"CONNECT {host}:{echo} HTTP/1.1\r\n\r\n".encode()).endswith(b"got hello")
    assert onward.asked == []


@pytest.mark.parametrize("host", ["minio.store.svc", "minio.store.svc.cluster.local"])
def test_a_name_of_the_cluster_never_goes_through_the_proxy(host):
    assert not Proxy("proxy", 3128).serves(host)
    assert Proxy("proxy", 3128, ("example.com",)).serves("notexample.com")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "printer", "files.corp.internal", "nas.local", "10.1.2.3", "[::1]"),
        *("169.254.169.254", "metadata.google.internal", "127.1", "2130706433", "0x7f000001"),
    ],
)
def test_a_proxy_is_not_asked_for_what_could_be_its_own_network(onward, host):
    with Tunnel(Guard((), allow_private=False), Proxy("127.0.0.1", onward.port)) as tunnel:
        assert ask(tunnel, f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode()) == b""
        assert isinstance(tunnel.problem, FetchFailed)
    assert onward.asked == []


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "127.1", "0x7f000001"])
def test_a_proxy_is_not_asked_for_credentials_of_machines_even_where_private_is_allowed(onward, host):
    with Tunnel(Guard((), allow_private=True), Proxy("127.0.0.1", onward.port)) as tunnel:
        assert ask(tunnel, f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode()) == b""
    assert onward.asked == []


def test_the_allow_list_holds_behind_a_proxy(onward):
    with Tunnel(Guard(("*.example.com",), allow_private=False), Proxy("127.0.0.1", onward.port)) as tunnel:
        assert ask(tunnel, b"CONNECT models.example.org:443 HTTP/1.1\r\n\r\n") == b""
        assert "is not allowed" in str(tunnel.problem)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", FetchFailed, "refused host 'models.example.com' (403)"),
        (b"HTTP/1.1 407 Login\r\n\r\n", FetchFailed, "wants a login"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Transient, "could not reach host 'models.example.com' (502)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Transient, "no HTTP answer"),
        (b"", Transient, "closed the connection"),
    ],
)
def test_what_a_proxy_refuses_is_told_in_its_name(onward, answer, kind, words):
    onward.answers[0] = answer
    with Tunnel(Guard((), allow_private=False), Proxy("127.0.0.1", onward.port)) as tunnel:
        assert ask(tunnel, b"CONNECT models.example.com:443 HTTP/1.1\r\n\r\n") == b""
        assert type(tunnel.problem) is kind
        assert words in str(tunnel.problem)


def test_a_proxy_that_is_not_there_is_worth_another_try():
    with Tunnel(Guard((), allow_private=False), Proxy("127.0.0.1", 1)) as tunnel:
        assert ask(tunnel, b"CONNECT models.example.com:443 HTTP/1.1\r\n\r\n") == b""
        assert "cannot connect to the proxy 127.0.0.1 port 1" in str(tunnel.problem)
