"""Triton container images: how a reference is written and which releases are safe to run."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from tritonfleet.errors import InvalidSpec

OLDEST_ALLOWED: Final = (25, 7)
"""Before 25.07 a request could crash or take over the server (CVE-2025-23319, -23320, -23334)."""
OLDEST_RECOMMENDED: Final = (26, 4)
"""Before 26.04 a dead Python backend still answers 'ready'."""

_REFERENCE: Final = re.compile(
    r"(?P<repository>[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_RELEASE: Final = re.compile(r"(?P<year>[2-9][0-9])\.(?P<month>0[1-9]|1[0-2])(?![0-9])")


class Release(NamedTuple):
    """A monthly Triton release such as 26.04."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:02d}.{self.month:02d}"


@dataclass(frozen=True, slots=True)
class Image:
    """A container image; a digest, when there is one, decides what is pulled."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, reference: str) -> "Image":
        """Split `repository[:tag][@digest]`; raises InvalidSpec for anything else."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise InvalidSpec(
                f"'{reference}' is not an image: write repository:tag or repository@sha256:<64 hex digits>"
            )
        return cls(match["repository"], match["tag"], match["digest"])

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def release(tag: str | None) -> Release | None:
    """Return the release that a tag such as `26.04-py3` begins with, or None when it names none."""
    match = _RELEASE.match(tag or "")
    return Release(int(match["year"]), int(match["month"])) if match else None


def refuse_unsafe(image: Image, *, allow_unsafe: bool) -> None:
    """Raise InvalidSpec for a release with known remote holes; an image of unknown release is trusted."""
    found = release(image.tag)
    if found is not None and found < OLDEST_ALLOWED and not allow_unsafe:
        raise InvalidSpec(
            f"spec.server.image: Triton {found} in '{image}' is older than {Release(*OLDEST_ALLOWED)} "
            f"and has known remote vulnerabilities: use {Release(*OLDEST_RECOMMENDED)} or later, "
            "or set spec.server.allowUnsafeImage to true",
            reason="ImageUnsafe",
        )


def warning(image: Image) -> str | None:
    """Return what is wrong with an image that runs but should be newer, or None."""
    found = release(image.tag)
    if found is None or found >= OLDEST_RECOMMENDED:
        return None
    return (
        f"Triton {found} reports ready after its Python backend has died: use {Release(*OLDEST_RECOMMENDED)} or later"
    )
