"""What the measurements come to: tables, bars, and the notes without which neither means much."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fleet.manifests import fleet_names
from benchmarks.fleet.measure import Fleet, Floor, Idle, Life
from benchmarks.report import Bar, Row, Table, quantile

FLOOR_FACTOR = 1.5
REQUESTS_BEYOND_CHILDREN = 4
CHANGE_FLOOR_FACTOR = 1.2
IDLE_CORE_PERCENT = 3.0
KSERVE = {
    "what": "KServe's Go controller (not measured here)",
    "size": 1000,
    "to Deployment p95 s": 23,
    "to Ready p95 s": 236,
    "requests each": 35,
    "peak MiB": 161,
}
NOTES = (Path(__file__).parent / "notes.md").read_text()


def tables(fleets: Sequence[Fleet]) -> list[Table]:
    """Return what was measured."""
    times = [row for fleet in fleets for row in _time_rows(fleet)]
    return [
        Table("Creation", [*times, KSERVE]),
        Table("Rest", [_rest_row(fleet.size, fleet.life.idle) for fleet in fleets if fleet.life is not None]),
        Table("Change", [row for fleet in fleets if fleet.life is not None for row in _change_rows(fleet.life)]),
        Table("Requests for each ModelDeployment from create to Ready", _request_rows(fleets)),
    ]


def bars(fleets: Sequence[Fleet]) -> list[Bar]:
    """Return every promise with what was measured of it."""
    return [bar for fleet in fleets for bar in _bars(fleet)]


def _bars(fleet: Fleet) -> Iterator[Bar]:
    creation, of = fleet.creation, f"{fleet.size:,} created at once"
    limit = FLOOR_FACTOR * min(quantile(floor.deployment_seconds, 0.95) for floor in fleet.floors)
    yield Bar(f"{of}: p95 to Deployment", quantile(creation.deployment_seconds, 0.95), "s", limit)
    allowed = fleet.children + REQUESTS_BEYOND_CHILDREN
    yield Bar(
        f"{of}: most API requests for one, from create to Ready",
        fleet.creation.audited.most_of(fleet_names(fleet.size)),
        "requests",
        allowed,
    )
    yield Bar(f"{of}: mean API requests for each, by the operator's count", _mean_counted(fleet), "requests", allowed)
    if fleet.life is not None:
        yield from _life_bars(fleet.size, fleet.life)


def _life_bars(size: int, life: Life) -> Iterator[Bar]:
    change = (
        f"{len(life.change_seconds)} of {size:,} changed at once: p95 to the new Deployment, over that of the floor"
    )
    floor = min(quantile(each.deployment_seconds, 0.95) for each in life.change_floors)
    yield Bar(change, quantile(life.change_seconds, 0.95) / floor, "times", CHANGE_FLOOR_FACTOR)
    idle = f"{size:,} idle for {life.idle.seconds:.0f} s"
    yield Bar(f"{idle}: writes but of the Lease", life.idle.writes, "writes", 0)
    yield Bar(f"{idle}: processor", 100 * life.idle.core_share, "% of a core", IDLE_CORE_PERCENT, strict=True)


def _time_rows(fleet: Fleet) -> Iterator[Row]:
    for floor in fleet.floors:
        yield _floor_row(fleet.size, floor)
    creation = fleet.creation
    yield {
        "what": "Tritonfleet",
        "size": fleet.size,
        **_spread("to Deployment", creation.deployment_seconds),
        **_spread("to Ready", creation.ready_seconds),
        "requests each": _mean_audited(fleet),
        "CPU s": creation.cpu_seconds,
        "peak MiB": creation.peak_memory_mib,
    }


def _floor_row(size: int, floor: Floor) -> Row:
    return {
        "what": f"floor, {floor.in_flight} in flight",
        "size": size,
        **_spread("to Deployment", floor.deployment_seconds),
        "objects": floor.objects,
        "objects/s": floor.objects / floor.seconds,
    }


def _rest_row(size: int, idle: Idle) -> Row:
    return {"size": size, "idle s": idle.seconds, "writes": idle.writes, "% of a core": 100 * idle.core_share}


def _change_rows(life: Life) -> Iterator[Row]:
    changed = len(life.change_seconds)
    for floor in life.change_floors:
        yield {
            "what": f"floor, {floor.in_flight} in flight",
            "changed": changed,
            **_spread("to new Deployment", floor.deployment_seconds),
            "objects": floor.objects,
        }
    yield {"what": "Tritonfleet", "changed": changed, **_spread("to new Deployment", life.change_seconds)}


def _request_rows(fleets: Sequence[Fleet]) -> list[Row]:
    counts = {}
    for fleet in fleets:
        counts[f"{fleet.size:,}: audit log"] = fleet.creation.audited.by_method_and_kind, fleet.size
        counts[f"{fleet.size:,}: operator's count"] = fleet.creation.counted, fleet.size
    keys = sorted({key for tally, _ in counts.values() for key in tally}, key=lambda key: (key[1], key[0]))
    return [
        {"kind": kind, "method": method, **{who: tally[method, kind] / size for who, (tally, size) in counts.items()}}
        for method, kind in keys
    ]


def _mean_audited(fleet: Fleet) -> float:
    return _but_of_the_lease(fleet.creation.audited.by_method_and_kind) / fleet.size


def _mean_counted(fleet: Fleet) -> float:
    return _but_of_the_lease(fleet.creation.counted) / fleet.size


def _but_of_the_lease(counts: Mapping[tuple[str, str], int]) -> int:
    return sum(count for (_, kind), count in counts.items() if kind != "Lease")


def _spread(title: str, seconds: Sequence[float]) -> Mapping[str, Any]:
    shares = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {f"{title} {name} s": quantile(seconds, share) for name, share in shares.items()}
