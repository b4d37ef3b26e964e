"""S3 buckets and HTTPS servers, read through obstore and only through the tunnel.

`open_remote()` builds the store from the environment: it takes the Secret's keys, region, endpoint and certificate, and
keeps every other setting away from obstore. `Remote` lists the source and reads ranges of its files. `explained()`
turns obstore's exceptions into a `FetchFailed` in the user's words, or a `Transient` where another try may succeed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from tritonfleet.errors import Transient, TritonfleetError
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, is_clutter, safe_relative

if TYPE_CHECKING:
    from tritonfleet.fetch.location import Location
    from tritonfleet.fetch.tunnel import Tunnel


PART_BYTES: Final = 32 * 1024 * 1024
CHUNK_BYTES: Final = 128 * 1024
"""What a broken connection can cost: obstore drops the chunk that it had not filled."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object below the source, as it was when listed."""

    path: str
    """Relative to the source."""
    key: str
    size: int
    version: str | None
    """Changes with the content (ETag or modification time); None if the server gives neither."""
    ranges: bool = True
    """Whether it is read in parts; otherwise a broken read starts over."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A store opened for one location."""

    location: Location
    store: Any
    tunnel: Tunnel

    def files(self) -> list[RemoteFile]:
        """List the source; raise FetchFailed if it is empty or unsafe, Transient if it may work later."""
        if self.location.scheme == "https":
            return [self._single_https()]
        listed = [meta for page in self._call(self.location.uri, self._pages) for meta in page]
        prefix = self.location.path + "/" if self.location.path else ""
        found = [_remote_file(meta, meta["path"].removeprefix(prefix)) for meta in listed]
        files = without_folder_markers([file for file in found if file.key != self.location.path])
        files = [file for file in files if not is_clutter(file.path)]
        if not files and self.location.path:
            files = [self._single_object()]
        if not files:
            raise FetchFailed(f"{self.location.uri}: the bucket is empty; upload the model first")
        for file in files:
            safe_relative(file.path, of=self.location.uri)
        return files

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raise Transient when the connection breaks.

        Raises FetchFailed when the object is no longer the one that was listed.
        """
        import obstore  # noqa: PLC0415

        where = f"{self.location.scheme}://{self.location.authority}/{file.key or self.location.path}"
        options: dict[str, Any] = {} if (start, end) == (0, file.size) else {"range": (start, end)}
        result = self._call(where, lambda: obstore.get(self.store, file.key, options=options))  # type: ignore[arg-type]
        now = _remote_file(result.meta, file.path)
        if (now.size, now.version) != (file.size, file.version):
            raise FetchFailed(f"{where} was replaced while it was being fetched; publish models under new paths")
        stream = result.stream(min_chunk_size=CHUNK_BYTES)
        while (chunk := self._call(where, lambda: next(stream, None))) is not None:
            yield memoryview(chunk)

    def _pages(self) -> list[Any]:
        import obstore  # noqa: PLC0415

        pages, count = [], 0
        for page in obstore.list(self.store, prefix=self.location.path or None, chunk_size=1000):
            pages.append(page)
            count += len(page)
            if count > MAX_FILES:
                raise FetchFailed(f"{self.location.uri} holds more than {MAX_FILES} files; name the model's own folder")
        return pages

    def _single_object(self) -> RemoteFile:
        import obstore  # noqa: PLC0415

        path = self.location.path
        try:
            meta = self._call(self.location.uri, lambda: obstore.head(self.store, path))
        except FetchFailed as error:
            if "not found" not in str(error):
                raise
            raise FetchFailed(f"{self.location.uri}: nothing is stored there (404); check the path") from error
        return _remote_file(meta, self.location.name)

    def _single_https(self) -> RemoteFile:
        import obstore  # noqa: PLC0415

        uri = self.location.uri
        name = safe_relative(unquote(self.location.name), of=uri)
        try:
            meta = self._call(uri, lambda: obstore.head(self.store, ""))
        except FetchFailed as error:
            # Some servers answer HEAD as if the file were not there, or forbidden; GET decides.
            if not re.search(r"\((40[345]|501)", str(error)):
                raise
            meta = self._call(uri, lambda: obstore.get(self.store, "")).meta
        return _remote_file(meta, name, ranges=meta["size"] > PART_BYTES and self._has_ranges())

    def _has_ranges(self) -> bool:
        import obstore  # noqa: PLC0415
        from obstore.exceptions import NotSupportedError  # noqa: PLC0415

        with contextlib.suppress(NotSupportedError):
            obstore.get(self.store, "", options={"range": (0, 1)})
            return True
        return False

    def _call(self, where: str, action: Callable[[], _T]) -> _T:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            return action()
        except (BaseError, FileNotFoundError, ValueError) as error:
            result = explained(error, where)
            problem = self.tunnel.problem if isinstance(result, Transient) else None
            raise (_placed(problem, where) if problem else result) from error


def without_folder_markers(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Drop the empty objects that consoles create to make a prefix look like a folder."""
    folders = {file.path[:at] for file in files for at, letter in enumerate(file.path) if letter == "/"}
    return [file for file in files if file.size or file.path not in folders]


def _remote_file(meta: Any, path: str, *, ranges: bool = True) -> RemoteFile:
    modified = meta["last_modified"]
    dated = modified.isoformat() if modified != datetime.fromtimestamp(0, UTC) else None
    return RemoteFile(path, meta["path"], meta["size"], meta["e_tag"] or dated, ranges)


def _placed(problem: TritonfleetError, where: str) -> TritonfleetError:
    return type(problem)(f"{where}: {problem}")


SILENCE: Final = timedelta(seconds=30)
"""A read that brings no byte for this long is broken off and resumed."""
_WHOLE_REQUEST: Final = timedelta(hours=24)
_CONNECT: Final = timedelta(seconds=15)
# One policy of retries for everything, `transfer.Backoff`, which says in the log what it does.
_NO_RETRIES: Final[Any] = {"max_retries": 0, "retry_timeout": timedelta(0)}
DEFAULT_REGION: Final = "us-east-1"


def open_remote(
    location: Location,
    environment: Mapping[str, str],
    tunnel: Tunnel,
    *,
    allow_private: bool,
    authorities: str = "",
) -> Remote:
    """Return the store of an s3:// or https:// location; nothing is contacted yet.

    `authorities` are the administrator's, in PEM; the Secret may have more.

    Raises FetchFailed when the credentials or the endpoint in the environment cannot be used.
    """
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    plain_http = location.scheme == "s3" and _is_plain_http(endpoint, allow_private)
    client: Any = {
        "proxy_url": tunnel.url,
        "allow_http": plain_http,
        "connect_timeout": _CONNECT,
        "read_timeout": SILENCE,
        "timeout": _WHOLE_REQUEST,
        "user_agent": "tritonfleet-fetch",
    }
    trusted = [text for text in (authorities, environment.get("CA_CERTIFICATE", "")) if text]
    if trusted:
        client["root_certificate"] = "\n".join(trusted)
    if location.scheme == "https":
        return Remote(location, _https(location, environment, client), tunnel)
    return Remote(location, _s3(location, environment, endpoint, client), tunnel)


def _https(location: Location, environment: Mapping[str, str], client: Any) -> Any:
    from obstore.store import HTTPStore  # noqa: PLC0415

    if authorization := environment.get("HTTPS_AUTHORIZATION"):
        client["default_headers"] = {"Authorization": authorization}
    return _built(lambda: HTTPStore(location.uri, client_options=client, retry_config=_NO_RETRIES))


def _s3(location: Location, environment: Mapping[str, str], endpoint: str, client: Any) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415

    # obstore reads every AWS_* variable by itself. Those of the Secret that were not asked for (a proxy, a
    # metadata endpoint, plain http) must not reach it.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    config: Any = {"region": _region(environment)}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    if environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true":
        config["virtual_hosted_style_request"] = True
    keys = {name: environment.get(f"AWS_{name.upper()}", "") for name in ("access_key_id", "secret_access_key")}
    missing = [f"AWS_{name.upper()}" for name, value in keys.items() if not value]
    if len(missing) == 1:
        raise FetchFailed(
            f"{location.uri}: the Secret has no {missing[0]}; add it, or drop both keys for a public bucket"
        )
    config |= {"skip_signature": True} if missing else keys
    if not missing and (token := environment.get("AWS_SESSION_TOKEN")):
        config["session_token"] = token
    return _built(lambda: S3Store(location.authority, config=config, client_options=client, retry_config=_NO_RETRIES))


def _region(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION


def _is_plain_http(endpoint: str, allow_private: bool) -> bool:
    """Check AWS_ENDPOINT_URL; plain http is for stores inside the cluster, where those are allowed."""
    if not endpoint:
        return False
    try:
        split = urlsplit(endpoint)
        usable = split.scheme in {"http", "https"} and split.hostname and split.port != 0 and not split.query
    except ValueError:
        usable = False
    if not usable:
        raise FetchFailed("AWS_ENDPOINT_URL in the Secret is not an address such as https://minio.example.com:9000")
    if split.username or split.password:
        raise FetchFailed("AWS_ENDPOINT_URL in the Secret carries a user name or password; use AWS_ACCESS_KEY_ID")
    if split.scheme == "http" and not allow_private:
        raise FetchFailed(
            f"AWS_ENDPOINT_URL names {split.hostname} over plain http, which is only for private addresses that "
            "the administrator has allowed; use https"
        )
    return split.scheme == "http"


def _built(build: Callable[[], Any]) -> Any:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        return build()
    except (BaseError, ValueError) as error:
        # The text may quote a setting that came from the Secret.
        raise FetchFailed("the endpoint, region or CA_CERTIFICATE in the Secret cannot be used; check each") from error


_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_CREDENTIALS: Final = "check the keys in the Secret named by credentialsSecretName, and that they may read and list it"


def explained(error: Exception, where: str) -> FetchFailed | Transient:
    """Return the exception to raise for a failed read of `where`.

    obstore tells most failures apart only in its text, which holds the status, the S3 error code and, after
    "Debug source", the Rust error; nothing of that text but these words is passed on.
    """
    text = str(error)
    status = _STATUS.search(text)
    if status:
        return _by_status(int(status[1]), _CODE.search(text), where)
    for sign, message in _SIGNS:
        if sign in text:
            return FetchFailed(f"{where}: {message}")
    if certificate := _CERTIFICATE.search(text):
        return FetchFailed(
            f"{where}: its TLS certificate is not trusted ({certificate[1]}); if a private authority "
            "signed it, put that authority's PEM text into the Secret as CA_CERTIFICATE, or ask the administrator "
            "for the ConfigMap of `fetch.ca`"
        )
    if isinstance(error, FileNotFoundError):
        return FetchFailed(f"{where}: not found (404); check the path")
    return Transient(f"{where}: {_kind(text)}")


_SIGNS: Final = (
    ("RangeNotSupported", "the server announced byte ranges and then ignored one; ask its operator"),
    (
        "BareRedirect",
        "the bucket lives in another region; set AWS_REGION in the Secret to the bucket's region",
    ),
    ("BadScheme", "it redirects to a plain http address, which is not followed; name an https address"),
    ("TooManyRedirects", "it redirects more than 10 times; name the final address"),
    (
        "MissingContentLength",
        "the server does not say how long the file is (no Content-Length); host it elsewhere",
    ),
    ("InvalidPath", "an object's key cannot be a file name ('//', '.' or '..' in it); rename the object"),
)


def _by_status(status: int, code: re.Match[str] | None, where: str) -> FetchFailed | Transient:
    name = f"{status} {code[1]}" if code else str(status)
    if status in _TRY_AGAIN or status >= 500:
        return Transient(f"{where}: the server answered {name}")
    if code and code[1] == "NoSuchBucket":
        return FetchFailed(f"{where}: no such bucket ({name}); check the bucket's name and AWS_ENDPOINT_URL")
    # versitygw answers an unknown access key with 404 XAdminUserNotFound.
    if status in {401, 403} or (code and code[1].endswith("UserNotFound")):
        return FetchFailed(f"{where}: access denied ({name}); {_CREDENTIALS}")
    if status == 404:
        return FetchFailed(f"{where}: not found ({name}); check the path")
    return FetchFailed(f"{where}: the server refused the request ({name}); check the URI and the endpoint")


def _kind(text: str) -> str:
    lowered = text.lower()
    if "timedout" in lowered or "timed out" in lowered:
        return "the server sent nothing for too long"
    if "body error" in lowered:
        return "the connection broke in the middle of the file"
    return "the connection failed"
