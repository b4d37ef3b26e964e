"""The measurements, each on what the one before it left."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.fleet.audit import Counts
from benchmarks.fleet.client import connect
from benchmarks.fleet.cluster import CREATES_IN_FLIGHT, NAMESPACE, BenchCluster, bench_cluster
from benchmarks.fleet.floor import apply_all, apply_changes
from benchmarks.fleet.manifests import CHANGE, changed_children, children, fleet_names, model_deployment, owner_of
from benchmarks.fleet.observers import Moments, until, watching
from benchmarks.fleet.process import OperatorProcess, running_operator
from tritonfleet.adapters.store import Key

IN_FLIGHT = (20, 50)
"""Requests at once of the floors: the faster one counts."""
SETTLE_SECONDS = 15.0
"""Trailing writes count as part of what caused them; after so long without one, the fleet is idle."""


Change = Callable[[str], Awaitable[None]]
"""Changes one ModelDeployment."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Bare server-side apply of a fleet's children: seconds for all, and until each Deployment was there."""

    in_flight: int
    objects: int
    seconds: float
    deployment_seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Creation:
    """A fleet created at once: seconds from each create to its Deployment and to Ready, and the operator's cost."""

    deployment_seconds: Sequence[float]
    ready_seconds: Sequence[float]
    audited: Counts
    """What the API server says the operator asked for, until all were Ready and nothing more came."""
    counted: Counter[tuple[str, str]]
    """What the operator says it asked for, by method and kind, over the same time."""
    cpu_seconds: float
    peak_memory_mib: float


@dataclass(frozen=True, slots=True)
class Idle:
    """A fleet at rest for `seconds`: writes other than of the Lease, and the share of one core."""

    seconds: float
    writes: int
    """The worse of the audit log's count and the operator's own."""
    core_share: float


@dataclass(frozen=True, slots=True)
class Life:
    """What came after creation: rest, then seconds from each change to its new Deployment."""

    idle: Idle
    change_seconds: Sequence[float]
    change_floors: Sequence[Floor]
    """The same change of as many others, by bare server-side apply while no operator runs."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything measured for one size."""

    size: int
    children: int
    """Objects that the operator makes for one ModelDeployment."""
    floors: Sequence[Floor]
    creation: Creation
    life: Life | None


@dataclass(frozen=True, slots=True)
class Routine:
    """What to do with a fleet once it is Ready: watch it at rest for a while, then change so many at once."""

    idle_seconds: float
    changed: int


async def measure_fleet(size: int, routine: Routine | None, log: Path) -> Fleet:
    """Measure the floors and then the operator, each on a fresh cluster."""
    floors = [await measure_floor(size, in_flight) for in_flight in IN_FLIGHT]
    life = None
    async with bench_cluster(size) as cluster:
        async with running_operator(cluster.kubeconfig, NAMESPACE, log) as operator:
            creation = await measure_creation(cluster, operator, size)
            if routine is not None:
                idle = await measure_idle(cluster, operator, routine.idle_seconds)
                changes = await measure_changes(cluster, size, fleet_names(size)[: routine.changed])
        if routine is not None:
            floors_of_changes = []
            for turn, in_flight in enumerate(IN_FLIGHT, start=1):
                others = fleet_names(size)[turn * routine.changed :][: routine.changed]
                floors_of_changes.append(await measure_change_floor(cluster, size, others, in_flight))
            life = Life(idle, changes, floors_of_changes)
    return Fleet(size, floors[0].objects // size, floors, creation, life)


async def measure_floor(size: int, in_flight: int) -> Floor:
    """Apply the children of ModelDeployments whose operator is not running."""
    async with bench_cluster(size) as cluster, connect(cluster.kubeconfig, connections=in_flight) as measured:
        owners = [await cluster.create(model_deployment(NAMESPACE, name)) for name in fleet_names(size)]
        groups = [children(dict(owner)) for owner in owners]
        seconds, deployment_seconds = await apply_all(measured, groups, in_flight)
    return Floor(in_flight, sum(map(len, groups)), seconds, deployment_seconds)


async def measure_creation(cluster: BenchCluster, operator: OperatorProcess, size: int) -> Creation:
    """Create the whole fleet at once and wait until all of it is Ready and quiet."""
    cluster.audit.tally()
    counted, cpu_seconds = await operator.requests(), operator.cpu_seconds()
    async with watching(cluster.admin, NAMESPACE) as moments:
        created = await _create(cluster, fleet_names(size))
        await until(lambda: len(moments.ready) == size, lambda: f"{len(moments.ready)} of {size} are Ready")
    await asyncio.sleep(SETTLE_SECONDS)
    first = _first_deployments(moments)
    return Creation(
        deployment_seconds=[first[name] - moment for name, moment in created.items()],
        ready_seconds=[moments.ready[name] - moment for name, moment in created.items()],
        audited=cluster.audit.tally(),
        counted=await operator.requests() - counted,
        cpu_seconds=operator.cpu_seconds() - cpu_seconds,
        peak_memory_mib=operator.peak_memory_mib(),
    )


async def measure_changes(cluster: BenchCluster, size: int, chosen: Sequence[str]) -> Sequence[float]:
    """Change one field of the chosen at once; return seconds from each change to its new Deployment.

    Returns once every one of them is Ready again.
    """

    async def change_all(change: Change) -> None:
        await asyncio.gather(*map(change, chosen))

    return await _changed(cluster, size, change_all, ready_again=True)


async def measure_change_floor(cluster: BenchCluster, size: int, chosen: Sequence[str], in_flight: int) -> Floor:
    """Change the same field of the chosen while no operator runs, and apply what `plan.reconcile` asks for then."""
    store = await cluster.observed()
    groups = {name: changed_children(store, Key(NAMESPACE, name)) for name in chosen}
    async with connect(cluster.kubeconfig, connections=in_flight) as measured:
        begun = time.monotonic()
        apply = partial(apply_changes, measured, groups, in_flight=in_flight)
        seconds = await _changed(cluster, size, apply, ready_again=False)
    return Floor(in_flight, sum(map(len, groups.values())), time.monotonic() - begun, seconds)


async def _changed(
    cluster: BenchCluster,
    size: int,
    change_all: Callable[[Change], Awaitable[None]],
    *,
    ready_again: bool,
) -> Sequence[float]:
    """Return seconds from each change to the moment a watch showed the new Deployment."""
    changed: dict[str, float] = {}
    async with watching(cluster.admin, NAMESPACE) as moments:
        await until(
            lambda: len({*map(owner_of, moments.deployments)}) == len(moments.model_deployments) == size,
            lambda: "the fleet has not been listed",
        )
        known = frozenset(moments.deployments)

        async def change(name: str) -> None:
            changed[name] = time.monotonic()
            moments.ready.pop(name, None)
            await cluster.merge(name, CHANGE)

        def fresh() -> Mapping[str, float]:
            return {owner_of(name): moment for name, moment in moments.deployments.items() if name not in known}

        await change_all(change)
        await until(lambda: fresh().keys() >= changed.keys(), lambda: "a changed ModelDeployment has no new Deployment")
        if ready_again:
            await until(lambda: moments.ready.keys() >= changed.keys(), lambda: "a changed one is not Ready")
    return [fresh()[name] - moment for name, moment in changed.items()]


async def measure_idle(cluster: BenchCluster, operator: OperatorProcess, seconds: float) -> Idle:
    """Watch the operator do nothing."""
    cluster.audit.tally()
    counted, cpu_seconds, start = await operator.requests(), operator.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - start
    used_seconds = operator.cpu_seconds() - cpu_seconds
    requests = await operator.requests() - counted
    writes = sum(count for (method, kind), count in requests.items() if method != "GET" and kind != "Lease")
    return Idle(took, max(writes, cluster.audit.tally().writes), used_seconds / took)


async def _create(cluster: BenchCluster, wanted: Sequence[str]) -> Mapping[str, float]:
    """Create ModelDeployments as fast as the API server takes them; return when each create was sent."""
    sent: dict[str, float] = {}
    waiting = iter(wanted)

    async def work() -> None:
        for name in waiting:
            sent[name] = time.monotonic()
            await cluster.create(model_deployment(NAMESPACE, name))

    await asyncio.gather(*(work() for _ in range(CREATES_IN_FLIGHT)))
    return sent


def _first_deployments(moments: Moments) -> Mapping[str, float]:
    return {owner_of(name): moment for name, moment in moments.deployments.items()}
