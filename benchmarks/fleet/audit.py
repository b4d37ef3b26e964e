"""The API server's own record of who asked for what: the check on the operator's count of its requests."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fleet.manifests import owner_of
from tritonfleet.api.resources import BY_KIND

METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "get": "GET", "list": "GET"}
KINDS = {resource.plural: resource.kind for resource in BY_KIND.values()}


def policy(user: str) -> Mapping[str, Any]:
    """Return the audit policy that records one user's requests, once each, when they have been answered."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": [user]}, {"level": "None"}],
    }


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its HTTP method, and what it was about."""

    method: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests added up."""

    by_method_and_kind: Counter[tuple[str, str]]
    by_owner: Mapping[str, int]

    @property
    def writes(self) -> int:
        """Everything but reads, and but the Lease."""
        counts = self.by_method_and_kind.items()
        return sum(count for (method, kind), count in counts if method != "GET" and kind != "Lease")

    def most_of(self, owners: Iterable[str]) -> int:
        """Return the requests about the one of these ModelDeployments that took most."""
        return max(self.by_owner.get(owner, 0) for owner in owners)


class AuditLog:
    """The log of one API server; each call of `tally` covers what came since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def tally(self) -> Counts:
        """Add up the requests since the last call; watches count when they end, so they are left out."""
        totals: Counter[tuple[str, str]] = Counter()
        owners: dict[str, int] = defaultdict(int)
        for request in self._read():
            totals[request.method, request.kind] += 1
            owners[owner_of(request.name)] += 1
        return Counts(totals, owners)

    def _read(self) -> Iterator[Request]:
        with self._path.open("rb") as log:
            log.seek(self._position)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                request = _request(json.loads(line))
                if request is not None:
                    yield request


def _request(event: Mapping[str, Any]) -> Request | None:
    target = event.get("objectRef")
    if target is None or event["verb"] == "watch":
        return None
    resource = target["resource"]
    return Request(METHODS[event["verb"]], KINDS.get(resource, resource), target.get("name", ""))
