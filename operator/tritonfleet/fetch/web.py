"""HTTP requests to hubs, registries and trackers: what obstore has no words for.

A `Web` connects only to addresses that the tunnel's guard has checked, the first time and after each redirect. It
keeps a connection per thread and server, bounds what it reads, sends credentials to no other server than the one that
they are for, and raises what `remote.explained()` would: `FetchFailed` in the user's words, or `Transient`.
"""

import contextlib
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from tritonfleet.errors import Transient, TritonfleetError
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.remote import by_status, untrusted
from tritonfleet.fetch.tunnel import Tunnel

SILENCE_SECONDS: Final = 30.0
"""A read that brings no byte for this long is broken off and resumed."""
ANSWER_SECONDS: Final = 120.0
"""How long one answer of an API may take in all."""
ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Its size: enough for 100,000 files in one list."""
_PIECE_BYTES: Final = 1024 * 1024
_MOST_REDIRECTS: Final = 10
LONGEST_WAIT_SECONDS: Final = 60.0
"""The longest pause that a server can ask for."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FOR_ONE_SERVER: Final = frozenset({"authorization", "host", "x-amz-security-token"})
"""Headers that are not sent to the target of a redirect to another server."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,63}")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def word(text: object) -> str:
    """Return a server's own word for an error if it is one word, else nothing: it is shown to the user."""
    return text if isinstance(text, str) and _WORD.fullmatch(text) else ""


def bearer(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the header with the first token that the Secret has, none without one; raises FetchFailed for no token."""
    for name in names:
        if token := environment.get(name, "").strip():
            if not token.isascii() or not token.isprintable() or " " in token:
                raise FetchFailed(f"{name} in the Secret is not one token; put only the token there")
            return {"Authorization": f"Bearer {token}"}
    return {}


def refusal(reply: Reply, code: str, where: str, remedy: str) -> FetchFailed | Transient:
    """Return the exception to raise for an answer that is not a success."""
    wait = reply.headers.get("retry-after", "")
    seconds = min(float(wait), LONGEST_WAIT_SECONDS) if wait.isdecimal() else None
    return by_status(reply.status, code, where, remedy, seconds)


class Web:
    """HTTP over checked connections. `plain` lets requests go to plain http; `where` names the model in messages."""

    def __init__(self, tunnel: Tunnel, authorities: str, where: str, *, plain: bool) -> None:
        self._tunnel, self._where, self._plain = tunnel, where, plain
        self._local = threading.local()
        self._tls = ssl.create_default_context()
        if authorities:
            try:
                self._tls.load_verify_locations(cadata=authorities)
            except (ssl.SSLError, ValueError) as error:
                raise FetchFailed("CA_CERTIFICATE in the Secret is not a certificate in PEM; check it") from error

    def get(self, url: str, headers: Headers | None = None) -> Reply:
        """Return the answer, redirects followed, whatever its status; raises Transient when there is none."""
        with self._answer(url, headers or {}) as response:
            return self._whole(response)

    def pieces(
        self,
        url: str,
        headers: Headers,
        span: tuple[int, int] | None,
        refused: Callable[[Reply], Exception],
        check: Callable[[http.client.HTTPMessage], None] = lambda _: None,
    ) -> Iterator[memoryview]:
        """Yield the bytes of a file, or those of `span` from its first up to its second offset.

        Each piece is valid until the next. Raises what `refused` returns for an answer that is no success, and what
        `check` raises for the headers of one.
        """
        asked = {**headers, "Range": f"bytes={span[0]}-{span[1] - 1}"} if span else headers
        with self._answer(url, asked) as response:
            if span and response.status == 200:
                raise FetchFailed(f"{self._where}: the server announced byte ranges and then ignored one")
            if response.status != (206 if span else 200):
                raise refused(self._whole(response))
            if span and not response.headers.get("Content-Range", "").startswith(f"bytes {span[0]}-"):
                raise FetchFailed(f"{self._where}: the server sent another range of bytes than was asked for")
            check(response.headers)
            buffer = memoryview(bytearray(min(_PIECE_BYTES, response.length or _PIECE_BYTES)))
            while count := self._guarded(lambda: response.readinto(buffer)):
                yield buffer[:count]

    def has_ranges(self, url: str, headers: Headers) -> bool:
        """Return whether the server sends a part of the file when asked for one."""
        with self._answer(url, {**headers, "Range": "bytes=0-0"}) as response:
            return response.status == 206

    def _whole(self, response: http.client.HTTPResponse) -> Reply:
        until = time.monotonic() + ANSWER_SECONDS
        body = bytearray()
        while chunk := self._guarded(lambda: response.read1(_PIECE_BYTES)):
            body += chunk
            if len(body) > ANSWER_BYTES or time.monotonic() > until:
                raise FetchFailed(f"{self._where}: the server's answer is too long or too slow; check the endpoint")
        # `read1()` does not complain about an answer that ends before the length that it announced.
        if response.length:
            raise Transient(f"{self._where}: the connection broke in the middle of an answer")
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, bytes(body))

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error) from error

    @contextlib.contextmanager
    def _answer(self, url: str, headers: Headers) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer after all redirects; its connection is kept if it was read to its end."""
        sent = {"User-Agent": "tritonfleet-fetch", "Accept-Encoding": "identity", **headers}
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._sent(url, sent)
            target = response.headers.get("Location", "")
            try:
                if response.status not in _REDIRECTS or not target:
                    yield response
                    return
            finally:
                if not response.isclosed():
                    self._drop(url)
            before, url = url, urljoin(url, target)
            if _origin(before) != _origin(url):
                sent = {name: value for name, value in sent.items() if name.lower() not in _FOR_ONE_SERVER}
        raise FetchFailed(f"{self._where}: it redirects more than {_MOST_REDIRECTS} times; name the final address")

    def _sent(self, url: str, headers: Headers) -> http.client.HTTPResponse:
        is_fresh = _origin(url) not in self._kept
        try:
            return self._once(url, headers)
        except Transient:
            # A server may have closed a kept connection meanwhile.
            if is_fresh:
                raise
            return self._once(url, headers)

    def _once(self, url: str, headers: Headers) -> http.client.HTTPResponse:
        split = urlsplit(url)
        origin = scheme, host, port = _origin(url)
        if scheme != "https" and not (scheme == "http" and self._plain):
            raise FetchFailed(f"{self._where}: it leads to a plain http address, which is not followed; use https")
        path = f"{split.path or '/'}{'?' + split.query if split.query else ''}"
        kept = self._kept.pop(origin, None)
        try:
            connection, by_proxy = (kept, False) if kept else self._connected(scheme, host, port)
            try:
                connection.request("GET", url if by_proxy else path, headers=dict(headers))
                response = connection.getresponse()
            except BaseException:
                connection.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise untrusted(self._where, error.verify_message) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error) from error
        if connection.sock is not None and not by_proxy:
            self._kept[origin] = connection
        return response

    def _connected(self, scheme: str, host: str, port: int) -> tuple[http.client.HTTPConnection, bool]:
        try:
            opened, by_proxy = self._tunnel.dial(host, port, plain=scheme == "http")
        except TritonfleetError as error:
            raise type(error)(f"{self._where}: {error}") from error
        opened.settimeout(SILENCE_SECONDS)
        connection = http.client.HTTPConnection(host, port)
        # Otherwise it would connect again by itself, to an address that the guard has not checked.
        connection.auto_open = 0
        try:
            connection.sock = self._tls.wrap_socket(opened, server_hostname=host) if scheme == "https" else opened
        except BaseException:
            opened.close()
            raise
        return connection, by_proxy

    @property
    def _kept(self) -> dict[tuple[str, str, int], http.client.HTTPConnection]:
        """The open connections of this thread."""
        return self._local.__dict__.setdefault("kept", {})  # type: ignore[no-any-return]

    def _drop(self, url: str) -> None:
        if connection := self._kept.pop(_origin(url), None):
            connection.close()

    def _broken(self, error: Exception) -> Transient:
        if isinstance(error, TimeoutError):
            return Transient(f"{self._where}: the server sent nothing for too long")
        return Transient(f"{self._where}: the connection failed")


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port; raises FetchFailed for what is no address."""
    try:
        split = urlsplit(url)
        port = split.port or (443 if split.scheme == "https" else 80)
    except ValueError:
        raise FetchFailed("the server redirects to what is no address; ask its operator") from None
    return split.scheme, split.hostname or "", port
