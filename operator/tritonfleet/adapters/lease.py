"""Leader election with one Lease."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Protocol

from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.world import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Lease duration; the ratios of these times are client-go's."""

    duration_seconds: float = 15.0
    """A lease that was not renewed for this long may be taken."""
    renew_deadline_seconds: float = 10.0
    """A leader that could not renew for this long gives up, well before another may take over."""
    retry_seconds: float = 2.0


class Move(Enum):
    """What to do about the Lease now."""

    CREATE = auto()
    TAKE = auto()
    RENEW = auto()
    WAIT = auto()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease record and when it was first seen, on the local monotonic clock, in seconds.

    The times written in the record come from another machine's clock and are never compared with ours.
    """

    spec: Manifest
    since: float


def decide(sighting: Sighting | None, identity: str, now: float) -> Move:
    """Return the move of `identity`; `sighting` is None if there is no Lease."""
    if sighting is None:
        return Move.CREATE
    holder = sighting.spec.get("holderIdentity") or ""
    if holder == identity:
        return Move.RENEW
    if not holder:
        return Move.TAKE
    duration = sighting.spec.get("leaseDurationSeconds") or Timing().duration_seconds
    return Move.TAKE if now - sighting.since >= duration else Move.WAIT


class Leases(Protocol):
    """The three verbs that it needs, with the errors of `tritonfleet.adapters.cluster.Cluster`."""

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """Return the object, or None."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object that does not exist."""
        ...

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object at the manifest's resourceVersion."""
        ...


class LeaseLost(Exception):
    """The lease is lost or unknown: this process must stop writing immediately."""


class Elector:
    """Acquires, holds and releases the Lease; `identity` must be unique to this process."""

    def __init__(
        self,
        cluster: Leases,
        namespace: str,
        name: str,
        identity: str,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._clock = clock or asyncio.get_running_loop().time
        self._sighting: Sighting | None = None
        self._lease: Manifest | None = None
        self.leads = False
        self.last_contact: float | None = None
        """When the Lease was last read or written, on the local monotonic clock, in seconds."""

    async def acquire(self) -> None:
        """Return once this process leads."""
        while not self.leads:
            self.leads = await self._attempt()
            if not self.leads:
                await asyncio.sleep(self._timing.retry_seconds)

    async def hold(self) -> None:
        """Renew as long as possible, then raise LeaseLost."""
        renewed = self._clock()
        while self._clock() - renewed < self._timing.renew_deadline_seconds:
            await asyncio.sleep(self._timing.retry_seconds)
            left = self._timing.renew_deadline_seconds - (self._clock() - renewed)
            try:
                async with asyncio.timeout(left):
                    if await self._attempt():
                        renewed = self._clock()
            except TimeoutError:
                break
            if self._holder() not in ("", self._identity):
                break
        self.leads = False
        raise LeaseLost(f"the lease {self._namespace}/{self._name} is held by '{self._holder()}' or cannot be renewed")

    async def release(self) -> None:
        """Release the lease for others; after a failure they wait until it expires."""
        if not self.leads or self._lease is None:
            return
        self.leads = False
        try:
            await self._write(self._lease, holder="")
        except (Conflict, Refused, Transient) as error:
            log.warning("the lease could not be released", extra={"error": str(error)})

    async def _attempt(self) -> bool:
        """Read the Lease and acquire or renew it; return whether this process holds it."""
        try:
            if not self.leads or self._lease is None:
                self._observe(await self._cluster.get("Lease", self._namespace, self._name))
            move = decide(self._sighting, self._identity, self._clock())
            if move is Move.WAIT:
                return False
            if move is Move.CREATE:
                self._observe(await self._cluster.create(self._manifest()))
            else:
                await self._write(self._lease or self._manifest(), holder=self._identity)
        except (Conflict, Refused, Transient) as error:
            log.warning("the lease could not be read or written", extra={"error": str(error)})
            self._lease = None
            return False
        return True

    def _observe(self, lease: Manifest | None) -> None:
        """Record the lease, and when it last changed."""
        now = self._clock()
        self.last_contact = now
        self._lease = lease
        spec = lease.get("spec", {}) if lease is not None else None
        if spec is None:
            self._sighting = None
        elif self._sighting is None or self._sighting.spec != spec:
            self._sighting = Sighting(spec, now)

    async def _write(self, lease: Manifest, *, holder: str) -> None:
        """Replace the Lease; Conflict if it has changed since it was read."""
        before = lease.get("spec", {})
        taken = bool(holder) and before.get("holderIdentity") != holder
        spec = self._spec(holder) | {
            "acquireTime": _micro_time() if taken else before.get("acquireTime"),
            "leaseTransitions": before.get("leaseTransitions", 0) + (1 if taken else 0),
        }
        self._observe(await self._cluster.replace({**lease, "spec": spec}))

    def _manifest(self) -> Manifest:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(self._identity) | {"acquireTime": _micro_time(), "leaseTransitions": 0},
        }

    def _spec(self, holder: str) -> dict[str, Any]:
        # A released lease lasts a second, so that clients that only check durations take it too.
        duration = round(self._timing.duration_seconds) if holder else 1
        return {"holderIdentity": holder, "leaseDurationSeconds": max(1, duration), "renewTime": _micro_time()}

    def _holder(self) -> str:
        return str(self._sighting.spec.get("holderIdentity") or "") if self._sighting is not None else ""


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
