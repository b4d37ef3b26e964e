"""The source of a model: its URI, and the names found there, validated before use.

`parse()` rejects a URI before any host is contacted. `safe_relative()` guards every name that comes from outside (URIs,
bucket listings, archives, claims) before it becomes a file: `a/../b` and `%2e%2e/b` never reach the disk.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tritonfleet.api.names import source_uri
from tritonfleet.fetch.failure import FetchFailed

HTTPS_PORT: Final = 443
FORMS: Final = {
    "s3": "s3://bucket/folder",
    "gs": "gs://bucket/folder",
    "az": "az://account/container/folder",
    "hf": "hf://organization/model@revision",
    "https": "https://host/file",
    "mlflow": "mlflow://models:/name@alias",
    "oci": "oci://registry/repository:tag",
    "pvc": "pvc://claim/folder",
}
"""How a URI of each scheme is written."""
_NAMES: Final = {"az": 2, "hf": 2}
"""How many parts the authority has, where they are more than one."""
_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_IN_REGISTRY: Final = re.compile(
    r"([a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)(?::(\w[\w.-]{0,127})|@(sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_IN_MLFLOW: Final = re.compile(r"([^/:@%\\\s]+)(?:(@[\w-]+)|/([1-9][0-9]{0,18}))", re.ASCII)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_FORM_LIST: Final = " or ".join((", ".join(list(FORMS.values())[:-1]), list(FORMS.values())[-1]))


@dataclass(frozen=True, slots=True)
class Location:
    """A checked URI. `authority` is the bucket, the account with its container, the model, the host or the claim."""

    uri: str
    scheme: str
    authority: str
    path: str
    """Without leading or trailing slash; never empty for https."""
    port: int = HTTPS_PORT
    revision: str = ""
    """The branch, tag, commit, digest, version, or `@` and the alias; empty if the URI names none."""

    @property
    def name(self) -> str:
        """The last part of the path, or of the authority where the path is empty."""
        return self.path.rpartition("/")[2] or self.authority


def parse(uri: str, allowed_schemes: tuple[str, ...]) -> Location:
    """Return the location of `uri`, or raise FetchFailed saying what it must look like.

    A folder of Azure's https address is the same as the az:// URI of its account and container.
    """
    scheme, separator, rest = source_uri(uri).partition("://")
    scheme = scheme.lower()
    if "@" in rest.partition("/")[0]:
        raise _refused(uri, "carries a user name or password; put it into credentialsSecretName")
    if not separator or scheme not in FORMS:
        raise _refused(uri, f"is not a source this release can read; write {_FORM_LIST}")
    if scheme not in allowed_schemes:
        allowed = ", ".join(allowed_schemes)
        raise _refused(uri, f"uses {scheme}://, and the administrator allows only: {allowed}")
    if "?" in rest or "#" in rest:
        raise _refused(
            uri.replace("#", "?").partition("?")[0],
            "was given with '?' or '#': signed links expire and leak; use credentialsSecretName",
        )
    names = _NAMES.get(scheme, 1)
    authority, path = "/".join(rest.split("/")[:names]), "/".join(rest.split("/")[names:])
    if scheme == "https" and (path.endswith("/") or not path):
        raise _refused(uri, "is a folder, and https servers cannot list one; name a file or a .tar.gz or .zip archive")
    path = path.removesuffix("/")
    revision = ""
    if scheme == "hf":
        authority, revision = _repository(uri, authority)
    elif scheme == "oci":
        path, revision = _in_registry(uri, path)
    elif scheme == "mlflow":
        authority, path, revision = _in_mlflow(uri, authority, path)
    authority, path, port = _authority(uri, scheme, authority, path)
    if path:
        safe_relative(path, of="the model URI" if "@" in uri else f"the model URI {scheme}://{authority}")
    return Location(uri, scheme, authority, path, port, revision)


def _in_registry(uri: str, path: str) -> tuple[str, str]:
    found = _IN_REGISTRY.fullmatch(path)
    if not found:
        raise _refused(uri, f"does not name a repository of a registry, with a tag or a digest; write {FORMS['oci']}")
    return found[1], found[2] or found[3] or ""


def _in_mlflow(uri: str, authority: str, path: str) -> tuple[str, str, str]:
    found = _IN_MLFLOW.fullmatch(path)
    if authority != "models:" or not found:
        raise _refused(
            uri, f"does not name a model of MLflow's registry with an alias or a version; write {FORMS['mlflow']}"
        )
    return "models", found[1], found[2] or found[3]


def _repository(uri: str, authority: str) -> tuple[str, str]:
    repository, at, revision = authority.partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise _refused(uri, f"does not name an organization and a model; write {FORMS['hf']}")
    if at and not _REVISION.fullmatch(revision):
        raise _refused(
            uri, "names no branch, tag or commit after '@'; for a branch with '/' in its name, name a commit"
        )
    return repository, revision


def _authority(uri: str, scheme: str, authority: str, path: str) -> tuple[str, str, int]:
    if not authority or not authority.isascii() or not authority.isprintable() or set(authority) & set(" \\%"):
        raise _refused(uri, f"has no usable bucket, host or claim name; write {_FORM_LIST}")
    if scheme not in {"https", "oci"}:
        if ":" in authority or {".", ".."} & set(authority.split("/")):
            raise _refused(uri, "has a bucket or claim name with ':' or dots only")
        if scheme == "az" and not all(authority.partition("/")):
            raise _refused(uri, f"does not name a container; write {FORMS[scheme]}")
        return authority, path, HTTPS_PORT
    try:
        split = urlsplit(f"https://{authority}/")
        host, port = split.hostname, split.port
    except ValueError:
        # Its text quotes what may be a password.
        raise _refused(uri, "has a host or port that cannot be read") from None
    if not host:
        raise _refused(uri, "has no host")
    return host, path, port or HTTPS_PORT


def _refused(uri: str, why: str) -> FetchFailed:
    """Name the URI unless a password may be in it; one with a slash in it ends where no parser would look."""
    return FetchFailed(f"{'the model URI' if set(uri) & set('@?#') else uri} {why}")


MAX_FILES: Final = 100_000
"""Limit of files of one source: more are a whole bucket or claim, not one model."""
MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 1024
_ENCODED: Final = ("%2e", "%2f", "%5c", "%00")


def safe_relative(path: str, *, of: str) -> str:
    """Return `path` unchanged if it names a file below a folder, in every reading of it.

    Refused: absolute names, empty, `.` and `..` parts, backslashes, control characters, percent-encoded
    separators or dots, and names that no file system takes. `of` says where the path was found.
    """
    problem = _problem(path)
    if problem:
        raise FetchFailed(f"{of} holds the name {path[:200]!r}, which {problem}; rename it at the source")
    return path


def _problem(path: str) -> str | None:
    parts = path.split("/")
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    if path.startswith("/"):
        return "is absolute"
    if any(part in {"", ".", ".."} for part in parts):
        return "has an empty, '.' or '..' part"
    if "\\" in path or not path.isprintable():
        return "has a backslash, a control character or invalid UTF-8"
    if any(code in path.lower() for code in _ENCODED):
        return "hides a dot, a slash or a NUL behind percent-encoding"
    if sum(map(len, encoded)) + len(parts) > MAX_PATH_BYTES or any(len(part) > MAX_NAME_BYTES for part in encoded):
        return f"is longer than {MAX_PATH_BYTES} bytes, or {MAX_NAME_BYTES} in one part"
    return None


_CLUTTER: Final = frozenset({"lost+found", "__MACOSX", ".DS_Store"})


def is_clutter(path: str) -> bool:
    """Return whether a file system or a file manager has left the file, so that it is not part of the model."""
    return any(part in _CLUTTER or part.startswith("._") for part in path.split("/"))
