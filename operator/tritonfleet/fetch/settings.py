"""What the fetch container is told, all of it through its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonfleet.fetch.failure import FetchFailed

SCHEMES: Final = ("s3", "https", "pvc")
_PREFIX: Final = "TRITONFLEET_FETCH_"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """One fetch: which model, from where, to where, under which rules."""

    uri: str
    model: str
    """Triton's name of the model: the folder below `target`."""
    config: Path
    """The rendered configuration that is merged over the artifact's own."""
    digest: str | None = None
    """Expected content digest, `sha256:<hex>`."""
    target: Path = Path("/models")
    source: Path = Path("/source")
    """Where the claim of a pvc:// URI is mounted."""
    backend: str | None = None
    allowed_schemes: tuple[str, ...] = SCHEMES
    allowed_hosts: tuple[str, ...] = ()
    """Host names, or `*.example.com`; empty means any host with a public address."""
    allow_private: bool = False


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read `TRITONFLEET_FETCH_*`; raise FetchFailed naming the variable that cannot be used."""

    def read(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, "").strip() or default

    def required(name: str) -> str:
        return read(name) or _refuse(name, "", "a value")

    model, digest, private = required("MODEL"), read("DIGEST"), read("ALLOW_PRIVATE", "false").lower()
    if not _MODEL.fullmatch(model):
        _refuse("MODEL", model, "letters, digits, '.', '-' and '_', not starting with '.' or '-'")
    if digest and not _DIGEST.fullmatch(digest):
        _refuse("DIGEST", digest, "'sha256:' and 64 lower-case hex digits")
    if private not in {"true", "false"}:
        _refuse("ALLOW_PRIVATE", private, "'true' or 'false'")
    return Settings(
        uri=required("URI"),
        model=model,
        config=Path(required("CONFIG")),
        digest=digest or None,
        target=Path(read("TARGET", "/models")),
        source=Path(read("SOURCE", "/source")),
        backend=read("BACKEND") or None,
        allowed_schemes=_words(read("ALLOWED_SCHEMES")) or SCHEMES,
        allowed_hosts=_words(read("ALLOWED_HOSTS")),
        allow_private=private == "true",
    )


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in value.split(",") if word.strip())


def _refuse(name: str, value: str, expected: str) -> str:
    raise FetchFailed(f"the environment variable {_PREFIX}{name} is '{value}'; it must be {expected}")
