"""hf:// sources: models of the Hugging Face Hub, or of a mirror that speaks its HTTP API.

A branch or tag is resolved to its commit first, and all else is asked for by that commit: a push in the middle changes
nothing. The list of files says the SHA-256 of all that is kept in LFS, which `transfer` compares with what arrives.

The client library of the Hub is not used: with its dependencies it is a quarter of what the image holds, it has no
bounds on what it reads, and Xet's transfers take no proxy that could check their addresses.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urljoin

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, Location, is_clutter, safe_relative
from tritonfleet.fetch.model_folder import Content
from tritonfleet.fetch.remote import RemoteFile, in_parts
from tritonfleet.fetch.web import Reply, Web, bearer, refusal, word

ENDPOINT: Final = "https://huggingface.co"
_TOKEN: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NEXT: Final = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')
_OWN: Final = frozenset({".gitattributes", ".gitignore"})
"""Files of the repository itself, which no model reads."""


class Hub:
    """One repository of models at one revision."""

    def __init__(self, location: Location, environment: Mapping[str, str], endpoint: str, web: Web) -> None:
        self._location, self._web = location, web
        self._endpoint = endpoint or ENDPOINT
        self._headers = bearer(environment, *_TOKEN)
        self._remedy = (
            "let the account of the token in the Secret read it, and accept the model's conditions with that account"
            if self._headers
            else f"it was read anonymously; name a Secret with {_TOKEN[0]} in credentialsSecretName"
        )
        self._commit = ""

    @property
    def version(self) -> str:
        """The commit that the revision named when the files were listed."""
        return self._commit

    def files(self) -> list[RemoteFile]:
        """List the repository, or the folder or file that the URI names; raises FetchFailed or Transient."""
        where = self._location.uri
        self._commit = self._commit or self._resolved()
        entries = [entry for entry in self._tree() if entry.get("type") == "file"]
        path = self._location.path
        prefix = f"{path}/" if path else ""
        found = [self._file(entry, prefix) for entry in entries if str(entry.get("path")).startswith(prefix)]
        if path and not found:
            folder = path[: path.rfind("/") + 1]
            found = [self._file(entry, folder) for entry in entries if entry.get("path") == path]
        found = [file for file in found if file.path not in _OWN and not is_clutter(file.path)]
        if not found:
            raise FetchFailed(f"{where}: nothing is stored there (404); check the path")
        for file in found:
            safe_relative(file.path, of=where)
        return in_parts(found, lambda file: self._web.has_ranges(self._url(file), self._headers))

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raises Transient when the connection breaks."""
        span = None if (start, end) == (0, file.size) else (start, end)
        yield from self._web.pieces(self._url(file), self._headers, span, self._refused)

    def arranged(self, contents: Sequence[Content], _: Path) -> list[Content]:
        """Return the files as they are: each entry of the repository is one."""
        return list(contents)

    def _url(self, file: RemoteFile) -> str:
        return f"{self._endpoint}/{self._location.authority}/resolve/{self._commit}/{quote(file.key)}"

    def _resolved(self) -> str:
        revision = self._location.revision or "main"
        reply = self._get(f"{self._endpoint}/api/models/{self._location.authority}/revision/{quote(revision, safe='')}")
        answer = reply.json()
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise FetchFailed(f"{self._location.uri}: the server names no commit; is HF_ENDPOINT a hub of models?")
        return commit

    def _tree(self) -> list[dict[str, Any]]:
        where = self._location.uri
        url = f"{self._endpoint}/api/models/{self._location.authority}/tree/{self._commit}?recursive=true"
        found: list[dict[str, Any]] = []
        while url:
            reply = self._get(url)
            page = reply.json()
            if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
                raise FetchFailed(f"{where}: the server lists no files; is HF_ENDPOINT a hub of models?")
            found += page
            if len(found) > MAX_FILES:
                raise FetchFailed(f"{where} holds more than {MAX_FILES} files; name the model's own folder")
            following = _NEXT.search(reply.headers.get("link", ""))
            # An empty page that names another could go on forever.
            url = urljoin(url, following[1]) if following and page else ""
            if url and not url.startswith(f"{self._endpoint}/"):
                raise FetchFailed(f"{where}: the list of files goes on at another server; set HF_ENDPOINT to that one")
        return found

    def _file(self, entry: Mapping[str, Any], prefix: str) -> RemoteFile:
        path, size, lfs = str(entry.get("path")), entry.get("size"), entry.get("lfs")
        sha256 = ""
        if isinstance(lfs, dict):
            size, sha256 = lfs.get("size", size), str(lfs.get("oid", "")).removeprefix("sha256:")
            if not _SHA256.fullmatch(sha256):
                raise FetchFailed(f"{self._location.uri}: the server lists {path[:200]!r} with no SHA-256")
        if type(size) is not int or size < 0:
            raise FetchFailed(f"{self._location.uri}: the server lists {path[:200]!r} with no size")
        return RemoteFile(path.removeprefix(prefix), path, size, str(entry.get("oid")), sha256=sha256)

    def _get(self, url: str) -> Reply:
        reply = self._web.get(url, self._headers)
        if reply.status != 200:
            raise self._refused(reply)
        return reply

    def _refused(self, reply: Reply) -> FetchFailed | Transient:
        where, code = self._location.uri, word(reply.headers.get("x-error-code"))
        name = f"{reply.status} {code}"
        if code == "RevisionNotFound":
            revision = self._location.revision or "main"
            return FetchFailed(f"{where}: no such branch, tag or commit ({name}); check '{revision}' on its page")
        if code == "RepoNotFound":
            # The Hub's answer to a stranger about a private model as well.
            return FetchFailed(f"{where}: no such model, or a private one ({name}); check its name; {self._remedy}")
        return refusal(reply, code, where, self._remedy)
