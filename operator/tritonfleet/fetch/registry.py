"""oci:// sources: artifacts and images in a registry that follows the OCI distribution specification.

A tag is resolved to the digest of its manifest, and everything below is asked for by digest: the manifests are hashed
here, the blobs by `transfer`. Of an artifact, each layer is a file under the name that its annotation gives, as ORAS
writes it, or an archive. Of an image, the files below /models are the model, or all files if there is no such folder.
"""

import base64
import hashlib
import json
import platform
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from tritonfleet.errors import Transient
from tritonfleet.fetch.archive import unpacked
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import HTTPS_PORT, MAX_FILES, Location, safe_relative
from tritonfleet.fetch.model_folder import Content, without_wrapper
from tritonfleet.fetch.remote import RemoteFile, in_parts
from tritonfleet.fetch.web import Reply, Web, refusal, word

DOCKER_CONFIG: Final = ".dockerconfigjson"
"""The key of a Secret of the type kubernetes.io/dockerconfigjson."""
_LOGIN: Final = ("username", "password")
"""The keys of a Secret of the type kubernetes.io/basic-auth."""
_CREATE: Final = "create one with `kubectl create secret docker-registry`"
_DOCKER_HUB: Final = ("docker.io", "index.docker.io")
_DOCKER_HUB_API: Final = "registry-1.docker.io"
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE_CONFIGS: Final = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_NAMES: Final = ("org.opencontainers.image.title", "org.cncf.model.filepath")
"""Annotations with a layer's file name: of ORAS and Helm, and of the model specification of the CNCF."""
_UNPACK: Final = "io.deis.oras.content.unpack"
"""Set by ORAS for a folder, which it packs into an archive; its Python client only says so in the media type."""
_ARCHIVE: Final = re.compile(r"[.+/]tar([.+](gzip|zstd))?$")
_PACKED: Final = re.compile(r"[.+/]tar[.+](gzip|zstd)$")
"""Not a plain tar: ORAS gives that type to every file for which none is named."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_MODELS: Final = "models/"
"""Where images of models keep it, by the convention of KServe's modelcars."""
_LARGEST: Final = 2**50
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: str
    size: int
    name: str
    """The file's name; empty for an archive, which is unpacked."""


class _LoginWanted(FetchFailed):
    """The registry wants another token; `challenge` says where to get it."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class Registry:
    """One artifact or image at one tag or digest."""

    def __init__(self, location: Location, environment: Mapping[str, str], web: Web, *, plain: bool) -> None:
        self._location, self._web = location, web
        host = f"{location.authority}:{location.port}" if location.port != HTTPS_PORT else location.authority
        self._repository = location.path
        if host in _DOCKER_HUB:
            host = _DOCKER_HUB_API
            self._repository = location.path if "/" in location.path else f"library/{location.path}"
        self._base = f"{'http' if plain else 'https'}://{host}/v2/{self._repository}"
        self._login, self._remedy = _login(environment, location)
        self._authorization = ""
        self._lock = threading.Lock()
        self._version = ""
        self._is_image = False
        self._layers: dict[str, _Layer] = {}

    @property
    def version(self) -> str:
        """The digest of the manifest that the tag named."""
        return self._version

    def files(self) -> list[RemoteFile]:
        """List the layers; raises FetchFailed for what is no model, Transient if it may work later."""
        reference = self._version or self._location.revision or "latest"
        manifest, self._version = self._manifest(reference)
        if isinstance(manifest.get("manifests"), list):
            manifest, _ = self._manifest(self._of_this_machine(manifest["manifests"]))
        self._layers = {layer.name or _unnamed(number): layer for number, layer in self._numbered(manifest)}
        files = [
            RemoteFile(path, layer.digest, layer.size, layer.digest, sha256=layer.digest.removeprefix("sha256:"))
            for path, layer in self._layers.items()
        ]
        return in_parts(files, self._has_ranges)

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raises Transient when the connection breaks."""
        span = None if (start, end) == (0, file.size) else (start, end)
        sent = self._authorization
        try:
            yield from self._web.pieces(self._url(file), _headers(sent), span, self._refused)
        except _LoginWanted as wanted:
            # Raised before the first byte: a token ends after some minutes, in the middle of a large model.
            self._renew(wanted, sent)
            yield from self._web.pieces(self._url(file), _headers(self._authorization), span, self._refused)

    def arranged(self, contents: Sequence[Content], folder: Path) -> list[Content]:
        """Return the model's files: the archives among the layers are unpacked below `folder`."""
        archives = [content for content in contents if not self._layers[content.path].name]
        plain = [content for content in contents if self._layers[content.path].name]
        if not archives:
            return plain
        found = self._overlaid(archives, folder, _MODELS) if self._is_image else {}
        found = found or self._overlaid(archives, folder, "")
        if twice := next((content.path for content in plain if content.path in found), None):
            raise FetchFailed(f"{self._location.uri}: two layers hold {twice!r}; push it once")
        if not found and not plain:
            raise FetchFailed(f"{self._location.uri}: its layers hold no file; push the model's files")
        everything = [*plain, *found.values()]
        wrapper = without_wrapper(content.path for content in everything)
        return [replace(content, path=content.path.removeprefix(wrapper)) for content in everything]

    def _overlaid(self, archives: Sequence[Content], folder: Path, below: str) -> dict[str, Content]:
        """Unpack the layers one over the other; an image's later layers also remove what earlier ones have."""
        shutil.rmtree(folder, ignore_errors=True)
        found: dict[str, Content] = {}
        for number, archive in enumerate(archives):
            place = folder / str(number)
            place.mkdir(parents=True)
            name = f"{self._location.uri}: {archive.path}"
            layer = unpacked(archive.file, name, place, below=below, may_be_empty=True)
            removed = [content.path for content in layer if self._is_image and _is_whiteout(content.path)]
            for path in removed:
                parent, _, base = path.rpartition("/")
                prefix = f"{parent}/" if parent else ""
                gone = prefix if base == _OPAQUE else f"{prefix}{base.removeprefix(_WHITEOUT)}"
                found = {
                    path: content
                    for path, content in found.items()
                    if not f"{path}/".startswith(gone if base == _OPAQUE else f"{gone}/")
                }
            found |= {content.path: content for content in layer if content.path not in removed}
        return found

    def _numbered(self, manifest: Mapping[str, Any]) -> Iterator[tuple[int, _Layer]]:
        where = self._location.uri
        layers, config = manifest.get("layers"), manifest.get("config")
        if not isinstance(layers, list) or not layers or len(layers) > MAX_FILES:
            raise FetchFailed(f"{where}: the manifest lists no layers; push the model's files")
        self._is_image = isinstance(config, dict) and config.get("mediaType") in _IMAGE_CONFIGS
        names = {_unnamed(number) for number in range(1, len(layers) + 1)}
        for number, layer in enumerate(layers, 1):
            digest, size, kind, noted = _descriptor(layer)
            if not _DIGEST.fullmatch(digest) or not 0 <= size <= _LARGEST:
                raise FetchFailed(f"{where}: the manifest lists layer {number} without a SHA-256 or a size")
            name = next((str(noted[key]) for key in _NAMES if noted.get(key)), "")
            if not name and not _ARCHIVE.search(kind):
                raise FetchFailed(
                    f"{where}: layer {number} is no archive ({word(kind) or 'of another type'}) and has no name; "
                    f"push it with the annotation {_NAMES[0]}"
                )
            if str(noted.get(_UNPACK)).lower() == "true" or _PACKED.search(kind):
                name = ""
            if name:
                safe_relative(name, of=where)
                if name in names:
                    raise FetchFailed(f"{where}: two layers hold {name!r}; push it once")
                names.add(name)
            yield number, _Layer(digest, size, name)

    def _of_this_machine(self, manifests: Sequence[Any]) -> str:
        """Return the digest of the manifest for this machine, or of the only one."""
        wanted = ("linux", _MACHINES.get(platform.machine(), platform.machine()))
        found: dict[tuple[str, str], str] = {}
        for each in manifests[:MAX_FILES]:
            digest, _, _, noted = _descriptor(each)
            runs_on = each.get("platform") if isinstance(each, dict) else None
            runs_on = runs_on if isinstance(runs_on, dict) else {}
            system = (str(runs_on.get("os", "")), str(runs_on.get("architecture", "")))
            if _DIGEST.fullmatch(digest) and "vnd.docker.reference.type" not in noted:
                found.setdefault(system, digest)
        if wanted in found or len(found) == 1:
            return found.get(wanted) or next(iter(found.values()))
        listed = ", ".join(word(name) for _, name in found if word(name)) or "none"
        raise FetchFailed(
            f"{self._location.uri}: it is not there for {'/'.join(wanted)} (there are: {listed}); push it"
        )

    def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """Return a manifest or an index, and its digest."""
        where = self._location.uri
        accepted = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        reply = self._renewing(
            lambda sent: self._ok(self._web.get(f"{self._base}/manifests/{reference}", sent | accepted))
        )
        digest = f"sha256:{hashlib.sha256(reply.body).hexdigest()}"
        promised = reference if _DIGEST.fullmatch(reference) else reply.headers.get("docker-content-digest", digest)
        if promised != digest:
            raise FetchFailed(
                f"{where}: the registry sent a manifest with the digest {digest}, not the {promised} that was asked "
                "for; push it again, and check what is between"
            )
        found = reply.json()
        if not isinstance(found, dict):
            raise FetchFailed(f"{where}: the registry sent no manifest; is {self._location.authority} a registry?")
        return found, digest

    def _has_ranges(self, file: RemoteFile) -> bool:
        return self._web.has_ranges(self._url(file), _headers(self._authorization))

    def _url(self, file: RemoteFile) -> str:
        return f"{self._base}/blobs/{file.key}"

    def _ok(self, reply: Reply) -> Reply:
        if reply.status != 200:
            raise self._refused(reply)
        return reply

    def _refused(self, reply: Reply) -> FetchFailed | Transient:
        where, found = self._location.uri, reply.json()
        errors = found.get("errors") if isinstance(found, dict) else None
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        code = word(first.get("code"))
        name = f"{reply.status} {code}".strip()
        if reply.status == 401 and (challenge := reply.headers.get("www-authenticate", "")):
            return _LoginWanted(f"{where}: access denied ({name}); {self._remedy}", challenge)
        if code == "MANIFEST_UNKNOWN" or (reply.status == 404 and not code):
            reference = self._location.revision or "latest"
            return FetchFailed(f"{where}: no such tag or digest ({name}); check that '{reference}' has been pushed")
        if code == "NAME_UNKNOWN":
            return FetchFailed(f"{where}: no such repository ({name}); check its name; {self._remedy}")
        return refusal(reply, code, where, self._remedy)

    def _renewing(self, action: Any) -> Any:
        """Return what `action` returns, called with the headers that log in, once more if the registry wants others."""
        sent = self._authorization
        try:
            return action(_headers(sent))
        except _LoginWanted as wanted:
            self._renew(wanted, sent)
            return action(_headers(self._authorization))

    def _renew(self, wanted: _LoginWanted, sent: str) -> None:
        """Get what the registry's challenge asks for, unless another thread has since `sent` was sent."""
        with self._lock:
            if self._authorization != sent:
                return
            kind, _, rest = wanted.challenge.partition(" ")
            basic = f"Basic {base64.b64encode(self._login.encode()).decode()}" if self._login else ""
            if kind.lower() == "basic" and basic and sent != basic:
                self._authorization = basic
            elif kind.lower() == "bearer":
                self._authorization = f"Bearer {self._token(dict(_PARAMETER.findall(rest)), _headers(basic), wanted)}"
            else:
                raise wanted

    def _token(self, asked: Mapping[str, str], login: Mapping[str, str], wanted: _LoginWanted) -> str:
        realm = asked.get("realm", "")
        query = {"service": asked.get("service", ""), "scope": f"repository:{self._repository}:pull"}
        separator = "&" if "?" in realm else "?"
        reply = self._web.get(f"{realm}{separator}{urlencode({k: v for k, v in query.items() if v})}", login)
        if reply.status in {400, 401, 403}:
            raise wanted
        if reply.status != 200:
            raise refusal(reply, "", f"{self._location.uri}: the login of the registry", self._remedy)
        found = reply.json()
        token = (found.get("token") or found.get("access_token")) if isinstance(found, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise FetchFailed(f"{self._location.uri}: the registry's login gave no token; ask its operator")
        return token


def _unnamed(number: int) -> str:
    return f"layer {number}"


def _headers(authorization: str) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


def _is_whiteout(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_WHITEOUT)


def _descriptor(entry: Any) -> tuple[str, int, str, Mapping[str, Any]]:
    """Return digest, size, media type and annotations of an entry; what is no entry has none of them."""
    found = entry if isinstance(entry, dict) else {}
    size, noted = found.get("size"), found.get("annotations")
    known = size if type(size) is int else -1
    return str(found.get("digest")), known, str(found.get("mediaType", "")), noted if isinstance(noted, dict) else {}


def _login(environment: Mapping[str, str], location: Location) -> tuple[str, str]:
    """Return `user:password` for the registry, empty without one, and what to do when it denies access."""
    host = location.authority
    if config := environment.get(DOCKER_CONFIG, "").strip():
        login = _of_docker(config, location)
        if login:
            return login, f"let the account of the login for {host} in the Secret pull it"
        return "", f"the Secret has no login for {host}; {_CREATE}"
    user, password = (environment.get(name, "") for name in _LOGIN)
    if bool(user) != bool(password):
        raise FetchFailed(f"{location.uri}: the Secret has no {_LOGIN[bool(user)]}; add it, or drop both keys")
    if user:
        return f"{user}:{password}", "let the account in the Secret pull it"
    return "", (
        "it was read anonymously; name a Secret of the type kubernetes.io/dockerconfigjson, or with username and "
        "password, in credentialsSecretName"
    )


def _of_docker(config: str, location: Location) -> str:
    try:
        logins = json.loads(config)["auths"].items()
        keys = {key: login for key, login in logins if isinstance(login, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FetchFailed(f"{DOCKER_CONFIG} in the Secret is not what `docker login` writes; {_CREATE}") from None
    host = location.authority
    own = {f"{host}:{location.port}", host} if location.port == HTTPS_PORT else {f"{host}:{location.port}"}
    own |= {"index.docker.io", "registry-1.docker.io", "docker.io"} if host in _DOCKER_HUB else set()
    fitting = {}
    for key, login in keys.items():
        name = re.sub(r"/v[12]/?$", "", key.partition("://")[2] or key).rstrip("/")
        server, _, path = name.partition("/")
        if server in own and f"{location.path}/".startswith(f"{path}/" if path else ""):
            fitting[path] = login
    if not fitting:
        return ""
    login = fitting[max(fitting, key=len)]
    if login.get("username") and login.get("password"):
        return f"{login['username']}:{login['password']}"
    try:
        return base64.b64decode(str(login.get("auth", "")), validate=True).decode()
    except ValueError:
        raise FetchFailed(f"{DOCKER_CONFIG} in the Secret has no readable login for {host}; {_CREATE}") from None
