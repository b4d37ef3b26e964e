"""The connections of all transfers, only to addresses that were checked, and a proxy on loopback for obstore's.

obstore resolves names and follows redirects by itself. Sending it through a proxy takes both out of its hands: each
connection, the first as well as one after a redirect, is resolved here, checked by a `Guard` against the
administrator's allow-list, and made to the very address that was checked, which DNS rebinding cannot change. TLS stays
end to end.
"""

import contextlib
import errno
import fcntl
import ipaddress
import os
import re
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from tritonfleet.errors import Transient, TritonfleetError
from tritonfleet.fetch.failure import FetchFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            # IANA's registries of special-purpose addresses, also those that it calls reachable: no relay or
            # sinkhole serves files. https://www.iana.org/assignments/iana-ipv4-special-registry
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            # https://www.iana.org/assignments/iana-ipv6-special-registry; all outside 2000::/3 is special too.
            *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
        ),
    )
)
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")

_NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
            *("::/128", "fe80::/10", "fec0::/10", "ff00::/8"),
            # Where clouds hand out a machine's credentials outside the link-local ranges.
            *("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),  # Azure, Alibaba, Oracle
            *("fd00:ec2::/32", "fd20:ce::/32"),  # AWS, Google
            *("fd00:42::42/128", "fd00:a9fe:a9fe::/48"),  # Scaleway, Akamai
        ),
    )
)
"""Never connected to, whatever the administrator allows."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Allow-lists of the administrator, applied to every connection and so to every redirect."""

    allowed_hosts: tuple[str, ...]
    allow_private: bool

    def check_host(self, host: str) -> None:
        """Raise FetchFailed unless the host is on the allow-list; an empty list allows every name."""
        if not self.allowed_hosts or any(_matches(host.lower(), pattern) for pattern in self.allowed_hosts):
            return
        raise FetchFailed(
            f"host '{host}' is not allowed; the administrator allows only: {', '.join(self.allowed_hosts)}"
        )

    def check_name(self, host: str) -> None:
        """Check a host whose name another program will resolve; raises FetchFailed for one that must not be asked for.

        Addresses are checked as ever. Of names, those that could mean the other program's own network are refused
        unless private addresses are allowed.
        """
        self.check_host(host)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            self._check_unresolved(host)
        else:
            self._check_address(host, address)

    def _check_unresolved(self, host: str) -> None:
        name = host.lower().rstrip(".")
        if name in _METADATA_NAMES or _NUMBER.fullmatch(name.rpartition(".")[2]):
            raise FetchFailed(f"host '{host}' is a metadata service or a number: never allowed")
        if not self.allow_private and ("." not in name or name.endswith(_UNQUALIFIED)):
            raise FetchFailed(
                f"host '{host}' is a private name; use a public host, or ask the administrator to allow private "
                "addresses for model sources"
            )

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the host's addresses, all of them checked, for the caller to connect to and no other.

        Raises Transient when the name server cannot answer now, FetchFailed for everything else.
        """
        self.check_host(host)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise Transient(f"the name server did not answer for host '{host}'") from error
            raise FetchFailed(f"host '{host}' cannot be found by DNS; check its spelling") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._check_address(host, ipaddress.ip_address(address.partition("%")[0]))
        return addresses

    def _check_address(self, host: str, address: Address) -> None:
        reached = [address, *_carried(address)]
        if any(one in network for one in reached for network in _NEVER):
            raise FetchFailed(f"host '{host}' resolves to {address}, a link-local or metadata address: never allowed")
        if not self.allow_private and not _is_public(address):
            raise FetchFailed(
                f"host '{host}' resolves to {address}, a private address; use a public host, or ask the "
                "administrator to allow private addresses for model sources"
            )


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address in _NAT64:
            return all(map(_is_public, _carried(address)))
        if address not in _UNICAST:
            return False
    return not any(one in network for one in (address, *_carried(address)) for network in _SPECIAL)


def _carried(address: Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address may carry packets to; more than one where its form is unclear."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    tail = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    is_compatible = number >> 32 == 0 and address != ipaddress.IPv6Address("::1")
    is_isatap = number >> 32 & 0xFDFFFFFF == 0x5EFE
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if is_compatible or is_isatap or address in _NAT64:
        found.append(tail)
    if address in _LOCAL_NAT64:
        # RFC 6052, 2.2: the address comes after 48, 56, 64 or 96 bits, and the bits 64 to 71 are none of its own.
        squeezed = number >> 64 << 56 | number & (1 << 56) - 1
        possible = [ipaddress.IPv4Address(squeezed >> shift & 0xFFFFFFFF) for shift in (40, 32, 24)]
        found += [one for one in (*possible, tail) if int(one) >> 24]
    return [one for one in found if one is not None]


CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 120.0
_IDLE: Final = struct.pack("ll", int(IDLE_SECONDS), 0)
_PIPE_BYTES: Final = 1024 * 1024
_NO_SPLICE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM})
"""How a sandbox says that it does not have that call."""
_HEAD_BYTES: Final = 64 * 1024
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_HOP_HEADERS: Final = (b"connection:", b"proxy-connection:")
_BODY_HEADERS: Final = (b"content-length:", b"transfer-encoding:")


_INSIDE: Final = (".svc", ".cluster.local")
_UNQUALIFIED: Final = (".internal", ".local", ".localhost", ".svc", ".cluster.local")
"""Ends of names that mean something else to every network, as do names without a dot."""
_METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
_NUMBER: Final = re.compile("[0-9]+|0x[0-9a-f]*")
"""The last part of what many programs read as an IPv4 address, such as 127.1 or 0x7f000001."""
_ANSWER: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The administrator's HTTP proxy to the outside.

    It resolves names itself, so what can be checked here is the name. Names inside the cluster do not go through it,
    nor what `bypass` lists as NO_PROXY does: host names, also for all below them, and networks such as 10.0.0.0/8.
    """

    host: str
    port: int
    bypass: tuple[str, ...] = ()

    def serves(self, host: str) -> bool:
        """Return whether connections to the host go through the proxy."""
        name = host.lower()
        if name.endswith(_INSIDE):
            return False
        return not any(_bypasses(name, entry) for entry in self.bypass)

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to the proxy that leads to the host; raises FetchFailed if the proxy refuses it."""
        connection = self.dial()
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            connection.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode("ascii"))
            answer = _head_of(connection)
        except (OSError, ValueError) as error:
            connection.close()
            raise Transient(f"the proxy {self.host} closed the connection to {host}") from error
        found = _ANSWER.match(answer)
        status = int(found[1]) if found else 0
        if 200 <= status < 300:
            return connection
        connection.close()
        if status == 407:
            raise FetchFailed(f"the proxy {self.host} wants a login, which is not supported: let this cluster pass")
        if 400 <= status < 500 and status not in _TRY_AGAIN:
            raise FetchFailed(f"the proxy {self.host} refused host '{host}' ({status}); ask its administrator")
        raise Transient(f"the proxy {self.host} could not reach host '{host}' ({status or 'no HTTP answer'})")

    def dial(self) -> socket.socket:
        """Return a connection to the proxy itself."""
        try:
            return socket.create_connection((self.host, self.port), timeout=CONNECT_SECONDS)
        except OSError as error:
            raise Transient(f"cannot connect to the proxy {self.host} port {self.port} ({error})") from error


def _bypasses(name: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.lower().removeprefix("*").removeprefix(".")
        return name == domain or name.endswith(f".{domain}")


class Tunnel:
    """The proxy on loopback, alive inside its `with` block; `onward` is the administrator's, None for none."""

    def __init__(self, guard: Guard, onward: Proxy | None = None) -> None:
        self._guard = guard
        self._onward = onward
        self._server = _Server(self)
        self._problem: TritonfleetError | None = None

    @property
    def url(self) -> str:
        """The address to give to the client as its proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def problem(self) -> TritonfleetError | None:
        """Why the last connection could not be made: FetchFailed or Transient; None if it could."""
        return self._problem

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def connect(self, host: str, port: int, *, plain: bool = False) -> tuple[socket.socket, bool] | None:
        """Return what `dial()` does; None, and `problem` set, if there is no connection."""
        try:
            found = self.dial(host, port, plain=plain)
        except (FetchFailed, Transient) as problem:
            self._problem = problem
            return None
        self._problem = None
        return found

    def dial(self, host: str, port: int, *, plain: bool = False) -> tuple[socket.socket, bool]:
        """Return a connection to the host, and whether its other end is a proxy that wants `plain` http requests.

        Raises FetchFailed for a host that must not be connected to, Transient for one that cannot be reached now.
        """
        onward = self._onward if self._onward is not None and self._onward.serves(host) else None
        if onward is None:
            connection = _first_reachable(host, port, self._guard.resolve(host, port))
        else:
            self._guard.check_name(host)
            connection = onward.dial() if plain else onward.connect(host, port)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, plain and onward is not None


def _first_reachable(host: str, port: int, addresses: list[str]) -> socket.socket:
    reason = "no address"
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
        except OSError as error:
            reason = f"{address}: {error.strerror or error}"
        else:
            return connection
    raise Transient(f"cannot connect to {host} port {port} ({reason})")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Serve one CONNECT, or plain requests to one host; a refused one is closed without an answer."""
        self.request.settimeout(CONNECT_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            head = _head_of(self.request)
            method, target = _asked(head)
            if method != "CONNECT":
                self._forward(head)
                return
            url = urlsplit(f"//{target}")
            found = self.server.tunnel.connect(url.hostname or "", url.port or 80)
            if found is not None:
                with found[0] as upstream:
                    self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    _pump(self.request, upstream)

    def _forward(self, head: bytes) -> None:
        """Send on requests without TLS, all to the host of the first, whose address was checked."""
        target = _asked(head)[1]
        url = urlsplit(target)
        host = url.netloc
        found = self.server.tunnel.connect(url.hostname or "", url.port or 80, plain=True)
        if found is None:
            return
        with found[0] as upstream:
            by_proxy = found[1]
            _set_timeouts(self.request, upstream)
            answers = threading.Thread(target=_relay, args=(upstream, self.request), daemon=True)
            answers.start()
            try:
                while url.netloc == host:
                    is_last = by_proxy or _is_last(head)
                    closing = (b"Connection: close",) if is_last else ()
                    upstream.sendall(_retargeted(head, target if by_proxy else _path(url), *closing))
                    if is_last:
                        # Its body, if it has one, until the answer ends.
                        _relay(self.request, upstream)
                        return
                    head = _head_of(self.request)
                    target = _asked(head)[1]
                    url = urlsplit(target)
            finally:
                _shut(self.request, upstream)
                answers.join()


def _asked(head: bytes) -> tuple[str, str]:
    """Return the method and the target of a request; raises ValueError for what is none."""
    method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
    return method, target


def _path(url: SplitResult) -> str:
    return f"{url.path or '/'}{'?' + url.query if url.query else ''}"


def _head_of(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # CONNECT and GET have no body, and neither side sends more before it has the other's answer.
        received = connection.recv(_HEAD_BYTES - len(head))
        if not received:
            raise ValueError("the connection was closed, or the head is too long")
        head += received
    return head


def _is_last(head: bytes) -> bool:
    """Return whether no further request may follow on the connection: this one has a word about it, or a body."""
    return any(header.lower().startswith((*_HOP_HEADERS, *_BODY_HEADERS)) for header in head.split(b"\r\n"))


def _retargeted(head: bytes, target: str, *more: bytes) -> bytes:
    """Return a plain-http request for the target: a path for a server itself, an address for a proxy."""
    line, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method = line.split(b" ", 1)[0]
    kept = [header for header in headers if not header.lower().startswith(_HOP_HEADERS)]
    return b"\r\n".join([method + b" " + target.encode("ascii") + b" HTTP/1.1", *kept, *more, b"", b""])


def _pump(client: socket.socket, upstream: socket.socket) -> None:
    """Pass bytes on both ways until either side closes, or the server sends nothing for IDLE_SECONDS."""
    _set_timeouts(client, upstream)
    requests = threading.Thread(target=_relay, args=(client, upstream), daemon=True)
    requests.start()
    _relay(upstream, client)
    # Before both are closed: the number of a closed descriptor is given out again.
    requests.join()


def _set_timeouts(client: socket.socket, upstream: socket.socket) -> None:
    """Let the kernel wait: for the server and for either to take bytes, but never for the client's next request."""
    for end in (client, upstream):
        end.settimeout(None)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _IDLE)
    upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _IDLE)


def _relay(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on from one side to the other until either ends, then shut both.

    The kernel moves them by itself where it can: each piece costs neither a copy nor long turns of the interpreter.
    """
    moved = False
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.callback(_shut, source, sink)
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            while count := os.splice(source.fileno(), writer, _PIPE_BYTES):
                moved = True
                while count:
                    count -= os.splice(reader, sink.fileno(), count)
        except OSError as error:
            if moved or error.errno not in _NO_SPLICE:
                raise
            while received := source.recv(_PIPE_BYTES):
                sink.sendall(received)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
