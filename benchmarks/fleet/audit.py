"""The API server's own record of who asked for what: the check on the operator's count of its requests."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fleet.manifests import owner_of

READS = frozenset({"get", "list", "watch"})


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
    """One request; `resource` is like `deployments` or `modeldeployments/status`."""

    verb: str
    resource: str
    name: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests added up."""

    by_verb_and_resource: Counter[tuple[str, str]]
    by_owner: Mapping[str, int]

    @property
    def writes(self) -> int:
        """Everything but reads, and but the Lease."""
        return sum(
            count
            for (verb, resource), count in self.by_verb_and_resource.items()
            if verb not in READS and resource != "leases"
        )

    def most_of(self, owners: Iterable[str]) -> int:
        """Return the requests about the one of these ModelDeployments that took most."""
        return max(self.by_owner.get(owner, 0) for owner in owners)


class AuditLog:
    """The log of one API server; each call of `tally` covers what came since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def tally(self) -> Tally:
        """Add up the requests since the last call; watches count when they end, so they are left out."""
        totals: Counter[tuple[str, str]] = Counter()
        owners: dict[str, int] = defaultdict(int)
        for request in self._read():
            totals[request.verb, request.resource] += 1
            owners[owner_of(request.name)] += 1
        return Tally(totals, owners)

    def _read(self) -> Iterator[Request]:
        with self._path.open("rb") as log:
            log.seek(self._position)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                request = _request(json.loads(line))
                if request is not None and request.verb != "watch":
                    yield request


def _request(event: Mapping[str, Any]) -> Request | None:
    target = event.get("objectRef")
    if target is None:
        return None
    resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
    return Request(event["verb"], resource, target.get("name", ""))
