"""Objects of S3, and files of web servers, read without obstore: over a checked connection and signed here.

obstore's TLS takes two to three times the processor time of OpenSSL, and what it reads also passes the tunnel: with a
limit of one CPU that is what a download waits for. So where the keys are known here, or none are needed, obstore only
lists the source. A role's keys are obstore's own, which then reads as well.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage
from typing import Final
from urllib.parse import quote, urlsplit

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.web import Web

_NOTHING: Final = hashlib.sha256(b"").hexdigest()
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What requests to S3 are signed with."""

    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str

    def headers(self, url: str, now: datetime) -> dict[str, str]:
        """Return the headers that sign a GET of a URL without a query, by version 4 of AWS's signatures."""
        split = urlsplit(url)
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        given = {"host": _host(url), "x-amz-content-sha256": _NOTHING, "x-amz-date": moment}
        if self.session_token:
            given["x-amz-security-token"] = self.session_token
        names = ";".join(sorted(given))
        lines = "".join(f"{name}:{given[name]}\n" for name in sorted(given))
        request = f"GET\n{split.path}\n\n{lines}\n{names}\n{_NOTHING}"
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_access_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"{self.access_key_id}/{scope}"
        login = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {**given, "Authorization": login}


@dataclass(frozen=True, slots=True)
class Direct:
    """The objects of one bucket, or one file of a web server."""

    web: Web
    base: str
    """The bucket's URL, without a slash at its end, or the file's."""
    login: Keys | str
    """The whole header that logs in, or what makes it of each request; empty where everyone may read."""

    def pieces(
        self,
        key: str,
        span: tuple[int, int] | None,
        check: Callable[[int, str | None], None],
        refused: Callable[[int, bytes], FetchFailed | Transient],
    ) -> Iterator[memoryview]:
        """Yield the bytes of an object, or those of a span of it, as `remote.Objects` does."""
        url = f"{self.base}/{quote(key)}" if key else self.base
        if isinstance(self.login, Keys):
            headers = self.login.headers(url, datetime.now(UTC))
        else:
            headers = {"Authorization": self.login} if self.login else {}
        return self.web.pieces(
            url,
            headers,
            span,
            lambda reply: refused(reply.status, reply.body),
            lambda found: check(_size(found), _version(found)),
        )


def _host(url: str) -> str:
    """Return the header: without a port where that is the usual one, which servers leave out when they check."""
    split = urlsplit(url)
    usual = split.port in {None, _DEFAULT_PORTS[split.scheme]}
    return split.netloc.rpartition(":")[0] if usual and split.port is not None else split.netloc


def _size(headers: HTTPMessage) -> int:
    """Return the size of the whole object; -1 if the answer does not say it."""
    size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else -1


def _version(headers: HTTPMessage) -> str | None:
    """Return what changes with the content, as `remote` reads it from a listing."""
    if tag := headers.get("ETag", "").strip('"'):
        return tag
    try:
        modified = parsedate_to_datetime(headers.get("Last-Modified", ""))
    except ValueError:
        return None
    return modified.isoformat()
