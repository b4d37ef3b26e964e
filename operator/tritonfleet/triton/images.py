"""Triton container images: how a reference is written, what is wrong with its release, and which to use instead.

`FLAWS` is the table of what is wrong with releases, each line with its source. `refuse_unsafe()` refuses those with a
published vulnerability, `warning()` says what a release lacks that is run nevertheless, and `recommended()` which
release to use: that depends on the backend, since not every release comes with an image for each. An image whose tag
names no release is trusted. To keep the table current, add a line for each of NVIDIA's security bulletins
(https://www.nvidia.com/en-us/security/), and raise `RECOMMENDED` with the default image of the chart.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tritonfleet.errors import InvalidSpec

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


@dataclass(frozen=True, slots=True)
class Flaw:
    """A fault of all releases before `fixed_in`."""

    fixed_in: Release
    name: str
    """The CVE, or what goes wrong."""
    source: str

    @property
    def is_vulnerability(self) -> bool:
        """Whether others can make use of it; such a release is refused."""
        return self.name.startswith("CVE-")


_NVD: Final = "https://nvd.nist.gov/vuln/detail/"
_NOTES: Final = "https://github.com/triton-inference-server/server/releases/tag/"

FLAWS: Final = (
    Flaw(Release(25, 7), "CVE-2025-23319", f"{_NVD}CVE-2025-23319"),
    Flaw(Release(25, 8), "CVE-2025-23316", f"{_NVD}CVE-2025-23316"),
    Flaw(Release(26, 3), "CVE-2026-24207", "https://nvidia.custhelp.com/app/answers/detail/a_id/5828"),
    Flaw(Release(26, 4), "it reports ready after its Python backend has died", f"{_NOTES}v2.68.0"),
    Flaw(Release(26, 6), "CVE-2026-47606", f"{_NVD}CVE-2026-47606"),
    Flaw(Release(26, 6), "CVE-2026-47630", f"{_NVD}CVE-2026-47630"),
    Flaw(Release(26, 8), "its dynamic batcher can stop while requests wait", f"{_NOTES}v2.72.0"),
    Flaw(Release(26, 11), "its dynamic batcher can use memory that it has freed", f"{_NOTES}v2.75.0"),
)
OLDEST_SAFE: Final = max(flaw.fixed_in for flaw in FLAWS if flaw.is_vulnerability)
RECOMMENDED: Final = Release(26, 11)
_NEWEST_WITH: Final = {"tensorrtllm": Release(26, 10)}
"""Backends of which RECOMMENDED has no image: v2.75.0's notes say that there is none with TensorRT-LLM in 26.11."""


def recommended(backend: str | None) -> Release:
    """Return the release to use for a model of this backend."""
    return _NEWEST_WITH.get(backend or "", RECOMMENDED)


def refuse_unsafe(image: Image, *, allow_unsafe: bool, backend: str | None = None) -> None:
    """Raise InvalidSpec for a release with known vulnerabilities; an image of unknown release is trusted."""
    found = release(image.tag)
    if found is None or found >= OLDEST_SAFE or allow_unsafe:
        return
    known = ", ".join(flaw.name for flaw in FLAWS if flaw.is_vulnerability and found < flaw.fixed_in)
    raise InvalidSpec(
        f"spec.server.image: Triton {found} in '{image}' is older than {OLDEST_SAFE} and has known vulnerabilities"
        f" ({known}): use {_or_later(backend)}, or set spec.server.allowUnsafeImage to true",
        reason="ImageUnsafe",
    )


def warning(image: Image, backend: str | None = None) -> str | None:
    """Return what is wrong with an image that runs but should be newer, or None; also if there is nothing better."""
    found = release(image.tag)
    if found is None or found >= recommended(backend):
        return None
    flaws = [f"{flaw.name} (fixed in {flaw.fixed_in})" for flaw in FLAWS if found < flaw.fixed_in]
    return f"Triton {found} has known faults: {', '.join(flaws)}; use {_or_later(backend)}"


def _or_later(backend: str | None) -> str:
    newest = _NEWEST_WITH.get(backend or "")
    return f"{newest}, the newest with {backend}" if newest else f"{RECOMMENDED} or later"


IMAGE_FOLDERS: Final = ("/opt", "/usr")
"""Where NVIDIA's image has files that a model configuration may name."""


def server_context(
    image: Image, *, gpus: int, server_has_cache: bool, rate_limited: bool = False, mounts: Iterable[str] = ()
) -> str:
    """Return what a model configuration is checked against as a JSON object, for the fetch step.

    It names the release if the tag does, and where the server can have files besides the model's: in NVIDIA's image and
    at `mounts`. In any other image they can be anywhere.
    """
    known: dict[str, Any] = {"gpus": gpus, "server_has_cache": server_has_cache, "rate_limited": rate_limited}
    found = release(image.tag)
    if found is not None:
        known["release"] = list(found)
        if image.repository.rpartition("/")[2] == "tritonserver":
            known["image_folders"] = [*IMAGE_FOLDERS, *mounts]
    return json.dumps(known)


def read_server_context(text: str) -> dict[str, Any]:
    """Return the arguments of `problems()` that a JSON object of `server_context` stands for."""
    known = json.loads(text)
    release = known.get("release")
    return {
        "gpus": known["gpus"],
        "server_has_cache": known["server_has_cache"],
        "rate_limited": known.get("rate_limited"),
        "release": Release(*release) if release is not None else None,
        "image_folders": known.get("image_folders"),
    }
