"""What the runs come to: who did what, ours against the best of each rival, and the promises."""

from collections.abc import Iterator, Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean

from benchmarks.autoscale.contenders import FAMILIES, INFORMED, PARTS, WITHOUT
from benchmarks.autoscale.ledger import OURS, Ledger, Mean
from benchmarks.autoscale.runs import CLAIRVOYANT, Score
from benchmarks.autoscale.scenes import BURSTY, FLAT, Scene
from benchmarks.report import Bar, Row, Table

NOTES = (Path(__file__).parent / "notes.md").read_text()
HPA = ("hpa-arrivals", "hpa-success", "hpa-latency", "hpa-utilization")
KEDA = ("keda",)
TUNED = (*HPA, *KEDA, "keda-quick")
KPA = ("kpa", "kpa-delay")
DYNAMO = ("dynamo",)
RIVALS = {"HPA": HPA, "KEDA": KEDA, "HPA/KEDA, all tuned": TUNED, "KPA": KPA, "Dynamo-like": DYNAMO}
RESTARTS = (("ours-restarted", "restarted"), ("ours-killed", "killed"))


def scoreboard(scenes: Sequence[Scene], scores: Sequence[Score]) -> list[Row]:
    """Return one row for each contender on each scene, averaged over seeds."""
    ledger = Ledger(scores)
    return [_score_row(ledger, scene.name, mean) for scene in scenes for mean in _in_order(ledger, scene.name)]


def tables(scenes: Sequence[Scene], scores: Sequence[Score]) -> list[Table]:
    """Return the whole report's tables."""
    ledger = Ledger(scores)
    calm = [scene.name for scene in scenes if scene.swept]
    return [
        Table("Equal attainment: GPU-hours of ours over those of each rival's best setting", _duels(ledger, calm)),
        Table(
            "What each part is worth: without it, GPU-hours over ours, and points of attainment", _parts(ledger, calm)
        ),
        Table("Ours", [_score_row(ledger, scene.name, ledger.ours(scene.name)) for scene in scenes]),
        Table(
            "Faults: ours and the usual settings",
            [row for scene in scenes if scene.fault for row in _usual_rows(ledger, scene.name)],
        ),
        *(Table(f"Every setting: {scene.name}", scoreboard([scene], scores)) for scene in scenes if scene.swept),
    ]


def bars(scenes: Sequence[Scene], scores: Sequence[Score]) -> list[Bar]:
    """Return every promise with what was measured of it."""
    ledger = Ledger(scores)
    calm = [scene.name for scene in scenes if scene.swept]
    return [
        *_absolute(ledger),
        *_relative(ledger, calm),
        *_calm(ledger, scenes),
        *_faulty(ledger, [scene.name for scene in scenes]),
    ]


def _absolute(ledger: Ledger) -> Iterator[Bar]:
    yield Bar("smooth daily load: GPU-hours over the clairvoyant's", ledger.over_clairvoyant("daily"), "x", 1.15)
    yield Bar("smooth daily load: missed", 100 * ledger.ours("daily").miss, "%", 1.0)
    yield Bar("raw bursts: missed", 100 * ledger.ours(BURSTY).miss, "%", 0.7)


def _relative(ledger: Ledger, scenes: Sequence[str]) -> Iterator[Bar]:
    """Geometric means over the traces, and the worst of them: the duels' table has each."""
    for rival, families, limit in (("HPA or KEDA", (*HPA, *KEDA), 0.75), ("KPA", KPA, 0.85)):
        duels = {scene: ledger.against(scene, families) for scene in scenes}
        title = f"GPU-hours over the best-swept {rival}'s at equal attainment"
        ratio = _geometric(duel.gpu_ratio for duel in duels.values())
        yield Bar(f"{title}, mean of {len(duels)} traces", ratio, "x", limit)
        worst = max(duels, key=lambda scene: duels[scene].gpu_ratio)
        yield Bar(f"{title}, worst trace ({worst})", duels[worst].gpu_ratio, "x", 1.05)
    events = _geometric(ledger.against(scene, KPA).events_ratio for scene in scenes)
    yield Bar("scale events over the best-swept KPA's at equal attainment", events, "x", 0.25)


def _calm(ledger: Ledger, scenes: Sequence[Scene]) -> Iterator[Bar]:
    for scene in scenes:
        if scene.trace_name == FLAT:
            flips = ledger.ours(scene.name).flips / scene.hours
            yield Bar(f"{scene.name}: changes of direction an hour", flips, "", 2.0)


def _faulty(ledger: Ledger, scenes: Sequence[str]) -> Iterator[Bar]:
    slower = ledger.ours("daily+slower").minutes_over_after_fault
    yield Bar("model 1.6x slower: minutes over the SLO in the hour after", slower, "min", 3.0, strict=True)
    yield Bar("20 min without metrics at peak: scale-downs", ledger.ours("daily+blackout").downs_in_blackout, "", 0)
    for family, what in RESTARTS:
        pairs = [(ledger.ours(scene), ledger.on(scene)[family]) for scene in scenes]
        hours = max(abs(restarted.gpu_hours / ours.gpu_hours - 1) for ours, restarted in pairs)
        yield Bar(f"operator {what} every 5 min: most that any trace's GPU-hours differ", 100 * hours, "%", 2.0)
        kept = max(abs(restarted.miss - ours.miss) for ours, restarted in pairs)
        yield Bar(f"operator {what} every 5 min: most that any trace's attainment differs", 100 * kept, "points", 2.0)


def _duels(ledger: Ledger, scenes: Sequence[str]) -> list[Row]:
    rows = [_duel_row(ledger, scene) for scene in scenes]
    means = {
        key: _geometric(float(row[f"={key}"]) for row in rows if f"={key}" in row)
        for key in ("clairvoyant", *RIVALS, "KPA events")
    }
    shown = [{key: value for key, value in row.items() if not key.startswith("=")} for row in rows]
    return [*shown, {"trace": "geometric mean", **means}]


def _duel_row(ledger: Ledger, scene: str) -> Row:
    """Numbers as they are shown, and once more under `=` for the mean."""
    ours = ledger.ours(scene)
    row: dict[str, str | float] = {
        "trace": scene,
        "attainment %": f"{100 * (1 - ours.miss):.3f}",
        "GPU-h": ours.gpu_hours,
        "clairvoyant": ledger.over_clairvoyant(scene),
        "=clairvoyant": ledger.over_clairvoyant(scene),
    }
    for rival, families in RIVALS.items():
        if not ledger.knows(scene, families):
            continue
        duel = ledger.against(scene, families)
        # A rival's price that is only known to be at least something makes the ratio at most something.
        bound = {"<": ">= ", ">": "<= ", " ": ""}[duel.price.bound]
        row |= {rival: f"{bound}{duel.gpu_ratio:.2f}", f"={rival}": duel.gpu_ratio}
    events = ledger.against(scene, KPA).events_ratio
    return row | {"KPA events": events, "=KPA events": max(events, 1e-3)}


def _parts(ledger: Ledger, scenes: Sequence[str]) -> list[Row]:
    """Return one row per trace and one column per part that was left out; and one for ours, told the day before."""
    return [
        {"trace": scene, **{_left_out(name): _beside(ledger, scene, name) for name in _variants(ledger, scene)}}
        for scene in scenes
    ]


def _variants(ledger: Ledger, scene: str) -> list[str]:
    return [name for name in (INFORMED, *(f"{WITHOUT}{part}" for part in PARTS)) if name in ledger.on(scene)]


def _left_out(name: str) -> str:
    return "told the day before" if name == INFORMED else f"no {name.removeprefix(WITHOUT)}"


def _beside(ledger: Ledger, scene: str, name: str) -> str:
    ours, other = ledger.on(scene)[OURS], ledger.on(scene)[name]
    return f"{other.gpu_hours / ours.gpu_hours:.2f}, {100 * (ours.miss - other.miss):+.2f}"


def _usual_rows(ledger: Ledger, scene: str) -> Iterator[Row]:
    for mean in _in_order(ledger, scene):
        yield {
            **_score_row(ledger, scene, mean),
            "min over SLO, hour after": round(mean.minutes_over_after_fault, 1),
            "scale-downs blind": mean.downs_in_blackout if scene.endswith("+blackout") else None,
        }


def _score_row(ledger: Ledger, scene: str, mean: Mean) -> Row:
    known = CLAIRVOYANT in ledger.on(scene)
    return {
        "trace": scene,
        "scaler": mean.contender,
        "attainment %": f"{100 * (1 - mean.miss):.3f}",
        "GPU-h": mean.gpu_hours,
        "/ clairvoyant": ledger.over_clairvoyant(scene, mean.contender) if known else None,
        "events": round(mean.events, 1),
        "flips": round(mean.flips, 1),
        "min over SLO": round(mean.minutes_over, 1),
    }


def _in_order(ledger: Ledger, scene: str) -> list[Mean]:
    order = [CLAIRVOYANT, *(family.name for family in FAMILIES)]
    return sorted(ledger.on(scene).values(), key=lambda mean: (order.index(mean.family), mean.gpu_hours))


def _geometric(values: Iterator[float]) -> float:
    return exp(fmean(log(max(value, 1e-9)) for value in values))
