"""Canaries beside stable, request by request: what the analysis and rival rules make of the same traffic.

`python -m benchmarks.analysis.scenes --runs 30`. Two steps, 25% and 50%, at the sizes that Surge gives them: 1 and then
2 canary pods beside 4 of stable, so that a canary pod has 1.33 and 2 times a stable pod's load. The counters of
`pods.py` go through the functions that the operator calls. A rival of each kind sees the same windows: thresholds as
Flagger and Argo Rollouts document them, given the right limits, and a Mann-Whitney test over intervals of 5 s.
"""

import argparse
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from benchmarks.analysis.pods import (
    CANCELED,
    FAILED,
    GATEWAY,
    HISTOGRAM,
    MEANS,
    WINDOW_SECONDS,
    Done,
    Fleet,
    Look,
    Pod,
    Routing,
    Service,
    Version,
    counters,
    gateway_counts,
    intervals,
    split,
)
from tritonfleet.plan.rollout import GatewayFailures, merge_gateway_counts
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    Progress,
    Why,
    Window,
    analyze,
    record_stable,
)

STEPS = ((0.25, 1), (0.5, 2))
"""The weight and the canary's pods of each step."""
STABLE_PODS = 4
BEFORE = 3
"""Windows of stable alone, while the canary's pods start."""
WARMUP = 1
"""Windows at the start of a step that are not evaluated."""
MOST_WINDOWS = 100
PROMPT = 4
"""Windows after a fault's start within which it is to be caught."""

SAME, PLAIN = Version(), Service()


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of the table."""

    name: str
    good: bool = True
    canary: Version = SAME
    stable: Version = SAME
    service: Service = PLAIN
    utilization: float = 0.3
    """Of stable's pods, while they have all traffic."""
    per_second: float | None = None
    """Requests, where the utilization does not say it."""
    source: str = GATEWAY
    """Where latencies come from."""
    speeds: tuple[float, ...] = ()
    """Factor of each stable pod's GPU on its times; the canary's pods have the largest. All equal if empty."""
    silence: tuple[int, int] = (0, 0)
    """The windows, from and up to, without any request."""
    approval: int = 0
    """Windows that the first step waits for an approval; it is watched meanwhile."""
    instances: int = 2
    """Of the gateway."""
    gaps: float = 0.0
    """Chance that one of them is missing from the last scrape of a window."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.per_second or self.utilization * STABLE_PODS / self.service.seconds


@dataclass(slots=True)
class Stage:
    """One run of a scene: both fleets, and the clock."""

    scene: Scene
    random: np.random.Generator
    clock: float = 960.0
    number: int = 0
    failures: dict[str, GatewayFailures] = field(default_factory=dict)
    fleets: dict[str, Fleet] = field(init=False)

    def __post_init__(self) -> None:
        """Start stable."""
        speeds = self.scene.speeds or (1.0,) * STABLE_PODS
        pods = [Pod(f"stable-{index}", speed, f"GPU-{speed:g}") for index, speed in enumerate(speeds)]
        scene = self.scene
        self.fleets = {"stable": Fleet(scene.stable, scene.stable, scene.service, pods, self.random)}
        self.fleets["canary"] = Fleet(scene.canary, scene.stable, scene.service, [], self.random)

    def scale(self, pods: int) -> None:
        """Give the canary its pods of a step."""
        speed = max(self.scene.speeds, default=1.0)
        own = self.fleets["canary"].pods
        own.extend(Pod(f"canary-{index}", speed, f"GPU-{speed:g}") for index in range(len(own), pods))

    def look(self, share: float) -> Look:
        """Return the next window; a share of 0 is stable alone."""
        scene, start = self.scene, self.clock
        silent = scene.silence[0] <= self.number < scene.silence[1]
        number = 0 if silent else self.random.poisson(scene.rate * WINDOW_SECONDS)
        times = np.sort(self.random.uniform(start, start + WINDOW_SECONDS, number))
        to_canary, to_stable = split(times, share, self.random)
        canary = self.fleets["canary"].window(self.number, start, to_canary)
        stable = self.fleets["stable"].window(self.number, start, to_stable)
        self.clock += WINDOW_SECONDS
        if share:
            self.number += 1
        return Look(self._window(canary, stable, share), canary, stable, start)

    def _window(self, canary: Done, stable: Done, share: float) -> Window:
        counts = {"canary": counters(canary, self.scene.source), "stable": counters(stable, self.scene.source)}
        scrapes = tuple(intervals(canary, stable, self.clock - WINDOW_SECONDS))
        if self.scene.source == GATEWAY:
            missing = int(self.random.integers(self.scene.instances)) if self.random.random() < self.scene.gaps else -1
            found = gateway_counts({"canary": canary, "stable": stable}, self.scene.instances, missing)
            for name, gateway in found.items():
                before = self.failures.get(name, GatewayFailures())
                counts[name], self.failures[name] = merge_gateway_counts(counts[name], gateway, before, alone=False)
        return Window(
            self.clock,
            counts["canary"],
            counts["stable"],
            share,
            intervals=scrapes if self.scene.source == MEANS else None,
            service=scrapes,
        )


BACK, PASSED, HELD = "back", "passed", "held"


class Rule(Protocol):
    """What decides on a canary."""

    name: str

    def before(self, look: Look) -> None:
        """See a window of stable alone."""

    def step(self) -> None:
        """Begin a step."""

    def decide(self, look: Look) -> str:
        """Return what becomes of the canary; empty for another window."""


class Ours:
    """The functions of the operator, under the default policy."""

    name = "Tritonfleet"

    def __init__(self) -> None:
        self.policy = AnalysisPolicy()
        self.progress = Progress()
        self.waits = False

    def before(self, look: Look) -> None:
        """See `Rule.before`."""
        self.progress = record_stable(self.policy, self.progress, look.window)

    def step(self) -> None:
        """See `Rule.step`."""
        self.progress = self.progress.next_step()
        self.waits = False

    def decide(self, look: Look) -> str:
        """See `Rule.decide`."""
        verdict = analyze(self.policy, self.progress, look.window)
        self.progress = verdict.progress
        if verdict.outcome is Outcome.FAILED:
            return BACK
        if verdict.outcome is Outcome.PASSED:
            return PASSED
        # Held, it goes on by itself when requests come; anything else needs a person.
        self.waits |= verdict.needs_person and verdict.why is Why.TOO_FEW_REQUESTS
        return HELD if verdict.needs_person and not self.waits else ""


class Threshold:
    """Limits on errors and on the mean latency, as Flagger and Argo Rollouts know them."""

    def __init__(self, name: str, max_errors: float, fatal: int) -> None:
        self.name, self.max_errors, self.fatal = name, max_errors, fatal
        self.usual = math.nan
        self.failed = self.looks = 0

    def before(self, look: Look) -> None:
        """See `Rule.before`."""
        self.usual = look.means()[1]

    def step(self) -> None:
        """See `Rule.step`."""
        self.failed = self.looks = 0

    def decide(self, look: Look) -> str:
        """See `Rule.decide`."""
        self.looks += 1
        self.failed += not (look.shares()[0] <= self.max_errors and look.means()[0] <= 1.5 * self.usual)
        return BACK if self.failed >= self.fatal else PASSED if self.looks >= 10 else ""


class MannWhitney:
    """Whether intervals of the canary have more errors or higher latencies than those of stable, as Kayenta asks."""

    name = "Mann-Whitney"

    def __init__(self) -> None:
        self.step()

    def before(self, look: Look) -> None:
        """See `Rule.before`."""

    def step(self) -> None:
        """See `Rule.step`."""
        self.looks = 0
        self.canary: list[tuple[float, float]] = []
        self.stable: list[tuple[float, float]] = []

    def decide(self, look: Look) -> str:
        """See `Rule.decide`."""
        self.looks += 1
        for seen, new in zip((self.canary, self.stable), look.points(), strict=True):
            seen.extend(new)
        if self.looks % 5:
            return ""
        worse = any(_is_higher([p[i] for p in self.canary], [p[i] for p in self.stable]) for i in (0, 1))
        return BACK if worse else PASSED if self.looks >= 10 else ""


def _is_higher(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether `one` is higher with 99% confidence and by a tenth."""
    n, m = len(one), len(other)
    if min(n, m) < 5 or np.mean(one) <= 1.1 * np.mean(other):
        return False
    pooled = np.concatenate([one, other])
    _values, inverse, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = float((counts**3 - counts).sum()) / ((n + m) * (n + m - 1))
    return bool((u - n * m / 2) / math.sqrt(max(1e-9, n * m / 12 * (n + m + 1 - ties))) > 2.326)


@dataclass(slots=True)
class Life:
    """What becomes of a canary under one rule."""

    end: str = ""
    window: int = 0
    """The window of the end, from 1, among those in which the canary had traffic."""
    failed: int = 0
    """Requests that failed on the canary until then."""


def live(scene: Scene, seed: int) -> dict[str, Life]:
    """Return what becomes of one canary under each rule."""
    rules: list[Rule] = [Ours(), Threshold("Flagger-like", 0.01, 6), Threshold("Argo-like", 0.05, 4), MannWhitney()]
    lives = {rule.name: Life() for rule in rules}
    stage = Stage(scene, np.random.default_rng([seed, zlib.crc32(scene.name.encode())]))
    for _ in range(BEFORE):
        look = stage.look(0.0)
        for rule in rules:
            rule.before(look)
    for step, (share, pods) in enumerate(STEPS):
        stage.scale(pods)
        open_rules = [rule for rule in rules if lives[rule.name].end in ("", PASSED)]
        for rule in open_rules:
            rule.step()
            lives[rule.name].end = ""
        waits = scene.approval if step == 0 else 0
        for index in range(MOST_WINDOWS + waits):
            look = stage.look(share)
            bad = look.canary.all()
            for rule in [rule for rule in open_rules if not lives[rule.name].end]:
                life = lives[rule.name]
                life.failed += int(((bad[:, 4] == FAILED) | (bad[:, 4] == CANCELED)).sum())
                said = rule.decide(look) if index >= WARMUP else ""
                life.window = stage.number
                life.end = "" if said == PASSED and index < waits else said
                if said and not life.end:
                    rule.step()
            if all(lives[rule.name].end for rule in open_rules):
                break
        for rule in open_rules:
            lives[rule.name].end = lives[rule.name].end or HELD
    return lives


SCENES = (
    Scene("no change"),
    Scene("no change, utilization 0.6", utilization=0.6),
    Scene("no change, least request, 0.6", service=Service(routing=Routing.LEAST_REQUEST), utilization=0.6),
    Scene("no change, round robin, 0.45", service=Service(routing=Routing.ROUND_ROBIN), utilization=0.45),
    Scene("no change, means, 0.6", source=MEANS, utilization=0.6),
    Scene("no change, Triton's histogram, 0.6", source=HISTOGRAM, utilization=0.6),
    Scene("no change, batches of up to 8, 0.75", service=Service(batch=8), utilization=0.75),
    Scene(
        "no change, clients' own 4xx 1%",
        canary=Version(0.01),
        stable=Version(0.01),
        service=Service(client_errors=0.01),
    ),
    Scene("no change, gateway restarts", gaps=0.2),
    Scene("no change, mixed GPUs (1.6x)", speeds=(1.0, 1.0, 1.6, 1.6)),
    Scene("no change, mixed GPUs, means", speeds=(1.0, 1.0, 1.6, 1.6), source=MEANS),
    Scene("no change, one bad window", canary=Version(0.15, fault_from=4, bad_windows=1)),
    Scene("no change, cold for 300 requests (5x)", canary=Version(cold_requests=300, cold_factor=5.0)),
    Scene("no change, cold for 4 minutes (3x)", canary=Version(cold_seconds=240.0, cold_factor=3.0)),
    Scene("no change, an hour of silence", silence=(3, 63)),
    Scene("5% errors, clients' own 4xx 1%", good=False, canary=Version(0.05), service=Service(client_errors=0.01)),
    Scene("2% errors", good=False, canary=Version(0.022)),
    Scene("15% errors in every second window", good=False, canary=Version(0.15, fault_every=2)),
    Scene("15% errors in every third window", good=False, canary=Version(0.15, fault_every=3)),
    Scene("5% errors after 120 windows", good=False, canary=Version(0.05, fault_from=120), approval=140),
    Scene("10% of requests hang", good=False, canary=Version(hangs=0.1)),
    Scene("50% of requests hang", good=False, canary=Version(hangs=0.5)),
    Scene("1.3x slower, 0.3", good=False, canary=Version(slower=1.3)),
    Scene("1.5x slower, means, 0.45", good=False, canary=Version(slower=1.5), source=MEANS, utilization=0.45),
    Scene(
        "1.9x slower, 110 ms +-3%", good=False, canary=Version(slower=1.9), service=Service(0.11, 0.03), utilization=0.1
    ),
    Scene("3x slower, mixed GPUs", good=False, canary=Version(slower=3.0), speeds=(1.0, 1.0, 1.6, 1.6)),
    Scene("1.5x slower, batches of up to 8", good=False, canary=Version(slower=1.5), service=Service(batch=8)),
    Scene("all fail, 1 request a minute", good=False, canary=Version(1.0), per_second=1 / 60),
)


def row(scene: Scene, lives: Sequence[dict[str, Life]]) -> str:
    """Return one line of the table: back / held / promoted in percent for each rule, ours with confidence intervals."""
    cells = []
    for rule in lives[0]:
        own = [each[rule] for each in lives]
        shares = [sum(life.end == end for life in own) / len(own) for end in (BACK, HELD, PASSED)]
        if rule != Ours.name:
            cells.append(f"{100 * shares[0]:.0f}/{100 * shares[2]:.0f}")
            continue
        begun = next(number for number in range(WARMUP, MOST_WINDOWS * 2) if scene.canary.is_at_fault(number))
        prompt = sum(life.end == BACK and life.window - begun <= PROMPT for life in own) / len(own)
        low, high = interval(shares[0], len(own))
        cells.append(" / ".join(f"{100 * share:.0f}" for share in shares))
        cells.append(f"{100 * low:.0f}-{100 * high:.0f}")
        cells.append("" if scene.good else f"{100 * prompt:.0f}")
        cells.append(f"{np.mean([life.failed for life in own]):,.0f}")
    return f"| {scene.name} | {'keep' if scene.good else 'reject'} | {' | '.join(cells)} |"


def interval(share: float, runs: int) -> tuple[float, float]:
    """Return Wilson's 95% confidence interval of a share."""
    z = 1.96
    middle = share + z * z / (2 * runs)
    half = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, (middle - half) / (1 + z * z / runs)), min(1.0, (middle + half) / (1 + z * z / runs))


def main() -> None:
    """Run every scene and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="canaries for each line")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--only", default="", help="scenes whose names contain this")
    arguments = parser.parse_args()
    print(
        "| Scene | Right | Tritonfleet: back / held / promoted % | back, 95% CI | back by look 4 | Failed requests"
        " | Flagger-like: back/promoted % | Argo-like | Mann-Whitney |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for scene in SCENES:
        if arguments.only in scene.name:
            lives = [live(scene, arguments.seed + run) for run in range(arguments.runs)]
            print(row(scene, lives), flush=True)


if __name__ == "__main__":
    main()
