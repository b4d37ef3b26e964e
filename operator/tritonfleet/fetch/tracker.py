"""mlflow:// sources: versions of models in MLflow's registry, by number or by alias.

The registry says where the files of a version are: with the tracking server itself, or in a bucket or container, which
is opened as for a URI of its own. Of an MLflow model only the flavor `onnx` can be served; its description, `MLmodel`,
is read first, so that nothing else is fetched in vain. A folder without it is served as that of any other source.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode, urlsplit

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, Location, is_clutter, safe_relative
from tritonfleet.fetch.model_folder import Content
from tritonfleet.fetch.remote import RemoteFile, in_parts
from tritonfleet.fetch.transfer import Source, size_text
from tritonfleet.fetch.web import Reply, Web, bearer, refusal, word

TRACKING: Final = "MLFLOW_TRACKING_URI"
_TOKEN: Final = "MLFLOW_TRACKING_TOKEN"  # noqa: S105
_LOGIN: Final = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_DESCRIPTION: Final = "MLmodel"
_DESCRIPTION_BYTES: Final = 1024 * 1024
_NOT_SERVED: Final = frozenset(
    {
        _DESCRIPTION,
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "registered_model_meta",
        "input_example.json",
        "serving_input_example.json",
    }
)
"""What MLflow writes beside the model for other servers, as it does below `metadata/` and `code/`."""
_NOT_SERVED_FOLDERS: Final = ("metadata/", "code/")
_MOST_FOLDERS: Final = 1000
_AZURE: Final = re.compile(r"(?:wasbs?|abfss?)://([^/@]+)@([a-z0-9]+)\.(?:blob|dfs)\.core\.windows\.net(/.*)?")
_STORES: Final = ("s3", "gs", "az")


class _Files(Protocol):
    """Where the files of one version are."""

    def files(self) -> list[RemoteFile]: ...

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]: ...


@dataclass(slots=True)
class Tracker:
    """One model of MLflow's registry at one version."""

    location: Location
    environment: Mapping[str, str]
    endpoint: str
    web: Web
    nested: Callable[[str], Source]
    """Opens the bucket or container that the registry names, by the same Secret."""
    _version: str = ""
    _files: _Files | None = None
    _headers: dict[str, str] = field(default_factory=dict)
    _remedy: str = ""

    def __post_init__(self) -> None:
        """Read the login; raises FetchFailed when the Secret names no server, or half a login."""
        if not self.endpoint:
            raise FetchFailed(
                f"{self.location.uri}: no tracking server is known; name a Secret with {TRACKING} in "
                "credentialsSecretName"
            )
        self._headers = bearer(self.environment, _TOKEN)
        user, password = (self.environment.get(name, "") for name in _LOGIN)
        if bool(user) != bool(password):
            raise FetchFailed(f"{self.location.uri}: the Secret has no {_LOGIN[bool(user)]}; add it, or drop both keys")
        self._remedy = "let the account in the Secret read the model in MLflow"
        if user and not self._headers:
            self._headers = {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
        if not self._headers:
            self._remedy = f"it was read anonymously; add {_TOKEN}, or {' and '.join(_LOGIN)}, to the Secret"

    @property
    def version(self) -> str:
        """The number of the version that the alias named."""
        return self._version

    def files(self) -> list[RemoteFile]:
        """List the files that are served; raises FetchFailed for what Triton cannot serve, or Transient."""
        self._version = self._version or self._resolved()
        self._files = self._files or self._opened(self._stored_at())
        listed = self._files.files()
        described = next((file for file in listed if file.path == _DESCRIPTION), None)
        return listed if described is None else self._served(listed, self._flavors(self._files, described))

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raises Transient when the connection breaks."""
        if self._files is not None:
            yield from self._files.read(file, start, end)

    def arranged(self, contents: Sequence[Content], _: Path) -> list[Content]:
        """Return the files as they are."""
        return list(contents)

    def _resolved(self) -> str:
        name, revision = self.location.path, self.location.revision
        if revision.startswith("@"):
            found = self._asked("registered-models/alias", name=name, alias=revision[1:])
        else:
            found = self._asked("model-versions/get", name=name, version=revision)
        entry = found.get("model_version")
        entry = entry if isinstance(entry, dict) else {}
        version, status = str(entry.get("version", "")), word(entry.get("status"))
        if not version.isdecimal() or len(version) > 20:
            raise FetchFailed(f"{self.location.uri}: the server names no version; is {TRACKING} an MLflow server?")
        if status not in {"", "READY"}:
            raise FetchFailed(f"{self.location.uri}: version {version} is not ready ({status}); register it again")
        return version

    def _stored_at(self) -> str:
        found = self._asked("model-versions/get-download-uri", name=self.location.path, version=self._version)
        return str(found.get("artifact_uri", ""))

    def _opened(self, uri: str) -> _Files:
        where = self.location.uri
        if azure := _AZURE.fullmatch(uri):
            uri = f"az://{azure[2]}/{azure[1]}{azure[3] or ''}"
        scheme, _, rest = uri.partition(":")
        if scheme in _STORES:
            return self.nested(uri)
        if scheme == "mlflow-artifacts":
            split = urlsplit(uri)
            if split.netloc and split.netloc != urlsplit(self.endpoint).netloc:
                raise FetchFailed(f"{where}: its files are with another server than {TRACKING}; set it to that one")
            path = safe_relative(split.path.strip("/"), of=where)
            return _Artifacts(where, f"{self.endpoint}/api/2.0/mlflow-artifacts/artifacts", path, self)
        known = word(scheme) if rest else ""
        raise FetchFailed(
            f"{where}: the files of version {self._version} are where only the tracking server can read them "
            f"({known or 'a folder of its own'}); start it with --artifacts-destination, or register them in a bucket"
        )

    def _flavors(self, source: _Files, file: RemoteFile) -> dict[str, Any]:
        import yaml  # noqa: PLC0415

        where = self.location.uri
        if file.size > _DESCRIPTION_BYTES:
            raise FetchFailed(
                f"{where}: its {_DESCRIPTION} is longer than {size_text(_DESCRIPTION_BYTES)}; log the model again"
            )
        text = b"".join(bytes(piece) for piece in source.read(file, 0, file.size))
        try:
            found = yaml.safe_load(text)["flavors"]
        except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise FetchFailed(f"{where}: its {_DESCRIPTION} names no flavors; log the model again")
        return found

    def _served(self, files: Sequence[RemoteFile], flavors: Mapping[str, Any]) -> list[RemoteFile]:
        where, onnx = self.location.uri, flavors.get("onnx")
        if not isinstance(onnx, dict):
            names = ", ".join(sorted(word(name) for name in flavors if word(name) and name != "python_function"))
            raise FetchFailed(
                f"{where}: version {self._version} has the flavor {names or 'python_function'}, which Triton cannot "
                "serve; convert it to ONNX and log it with mlflow.onnx.log_model"
            )
        data = safe_relative(str(onnx.get("data") or "model.onnx"), of=f"{where}: {_DESCRIPTION}")
        if not any(file.path == data for file in files):
            raise FetchFailed(f"{where}: there is no {data}, which its {_DESCRIPTION} names; log the model again")
        folder = data[: data.rfind("/") + 1]
        return [
            replace(file, path=file.path.removeprefix(folder))
            for file in files
            if file.path.startswith(folder)
            and file.path not in _NOT_SERVED
            and not file.path.startswith(_NOT_SERVED_FOLDERS)
        ]

    def _asked(self, what: str, **query: str) -> dict[str, Any]:
        found = self.get(f"{self.endpoint}/api/2.0/mlflow/{what}?{urlencode(query)}").json()
        if not isinstance(found, dict):
            raise FetchFailed(
                f"{self.location.uri}: the server does not answer in JSON; is {TRACKING} an MLflow server?"
            )
        return found

    def get(self, url: str) -> Reply:
        """Return a successful answer of the tracking server."""
        reply = self.web.get(url, self._headers)
        if reply.status != 200:
            raise self.refused(reply)
        return reply

    def pieces(self, url: str, span: tuple[int, int] | None) -> Iterator[memoryview]:
        """Yield a file of the tracking server, or a part of it."""
        yield from self.web.pieces(url, self._headers, span, self.refused)

    def has_ranges(self, url: str) -> bool:
        """Return whether the tracking server sends a part of the file when asked for one."""
        return self.web.has_ranges(url, self._headers)

    def refused(self, reply: Reply) -> FetchFailed | Transient:
        """Return the exception to raise for an answer that is no success."""
        where, found = self.location.uri, reply.json()
        code = word(found.get("error_code")) if isinstance(found, dict) else ""
        name = f"{reply.status} {code}".strip()
        # Of an alias that is not there, the server says that a parameter is wrong.
        if code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return FetchFailed(f"{where}: no such model, version or alias ({name}); check it in MLflow's registry")
        return refusal(reply, code, where, self._remedy)


@dataclass(frozen=True, slots=True)
class _Artifacts:
    """The files of one version that the tracking server hands out itself."""

    where: str
    base: str
    path: str
    tracker: Tracker

    def files(self) -> list[RemoteFile]:
        """List the folder and all below; the server lists one at a time."""
        found: list[RemoteFile] = []
        folders, asked = [""], 0
        while folders:
            folder, asked = folders.pop(), asked + 1
            if asked > _MOST_FOLDERS or len(found) > MAX_FILES:
                raise FetchFailed(f"{self.where} holds more than {MAX_FILES} files or {_MOST_FOLDERS} folders")
            query = urlencode({"path": f"{self.path}/{folder}".rstrip("/")})
            answer = self.tracker.get(f"{self.base}?{query}").json()
            entries = answer.get("files", []) if isinstance(answer, dict) else []
            for entry in entries if isinstance(entries, list) else []:
                name = safe_relative(str(entry.get("path")) if isinstance(entry, dict) else "", of=self.where)
                size = entry.get("file_size")
                if entry.get("is_dir"):
                    folders.append(f"{folder}{name}/")
                elif type(size) is int and size >= 0:
                    path = f"{folder}{name}"
                    # The list has no version: a broken read begins again with the container.
                    found.append(RemoteFile(path, f"{self.path}/{path}", size, None))
        found = [file for file in found if not is_clutter(file.path)]
        if not found:
            raise FetchFailed(f"{self.where}: nothing is stored there (404); log the model again")
        return in_parts(found, lambda file: self.tracker.has_ranges(self._url(file)))

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`."""
        yield from self.tracker.pieces(self._url(file), None if (start, end) == (0, file.size) else (start, end))

    def _url(self, file: RemoteFile) -> str:
        return f"{self.base}/{quote(file.key)}"
