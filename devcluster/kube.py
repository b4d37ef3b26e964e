"""A small client of the API server, on the standard library alone: `up` runs before any package is installed."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devcluster.errors import DevclusterError

FIELD_MANAGER = "tritonfleet-devcluster"
DEADLINE_SECONDS = 240.0
"""Longer than a busy machine needs for anything that is waited for here; a process that ended is noticed at once."""
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(DevclusterError):
    """The API server answered with an error; `status` is the HTTP status, 0 if it did not answer at all."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """Raw requests with the administrator's certificate; paths as in `/api/v1/nodes`."""

    server: str
    pki: Path
    timeout_seconds: float = 15.0
    _tls: list[ssl.SSLContext] = field(default_factory=list, repr=False)

    def get(self, path: str) -> Any:
        """The object or list; raises ApiError."""
        return json.loads(self._call("GET", path))

    def healthy(self) -> bool:
        """Whether the API server says it is ready."""
        try:
            return self._call("GET", "/readyz") == b"ok"
        except ApiError:
            return False

    def exists(self, path: str) -> bool:
        """Whether an object is there; raises ApiError for anything but found and not found."""
        try:
            self.get(path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def apply(self, path: str, manifest: dict[str, Any]) -> Any:
        """Server-side apply, taking over what others own."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        return json.loads(self._call("PATCH", path + query, json.dumps(manifest).encode(), _APPLY))

    def merge(self, path: str, patch: dict[str, Any]) -> Any:
        """JSON merge patch."""
        return json.loads(self._call("PATCH", path, json.dumps(patch).encode(), _MERGE))

    def delete(self, path: str) -> None:
        """Delete an object; no error if it is not there."""
        try:
            self._call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def _call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        if not self._tls:
            context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
            context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
            self._tls.append(context)
        request = urllib.request.Request(  # noqa: S310 - always our own https address
            self.server + path, data=body, method=method, headers={"Content-Type": kind}
        )
        # No proxy: HTTPS_PROXY in the environment must not stand between us and our own cluster.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls[0])
        )
        try:
            with opener.open(request, timeout=self.timeout_seconds) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise ApiError(error.code, f"{method} {path}: {error.code} {text[:600]}") from error
        except OSError as error:
            raise ApiError(0, f"{method} {path}: {error}") from error


def wait_until(what: str, ready: Callable[[], bool], hint: str = "") -> None:
    """Poll until `ready` holds; raises DevclusterError naming what was waited for after DEADLINE_SECONDS."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise DevclusterError(f"{what} did not happen within {DEADLINE_SECONDS:.0f}s. {hint}".strip())
        time.sleep(0.1)
