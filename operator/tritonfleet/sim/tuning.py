"""The search for the batching and the instances that carry the most load within an SLO: which trial comes next.

`next_trial()` looks at the trials made so far and returns the next one, or None when the best setting is known;
`outcome()` sums up. Both are pure and keep nothing, so that a search goes on where another one ended. `cli/tune.py`
makes the trials on a real Triton, and the benchmark of batching compares the search with the whole grid.

1. *Learn*: clients that never pause press the largest batches out of one instance, then of two, and so on until more
   carry no more. Triton's own statistics say how long a batch of each size took: T(b), with what the instances take
   from each other.
2. *Predict*: the engine of the simulator, which batches as Triton does, replays Poisson arrivals at several rates
   against every setting. That costs milliseconds where a trial costs seconds.
3. *Confirm*: the present setting is measured, then the best predicted one, by trials on both sides of its load. What
   was predicted is corrected by what was measured with as many instances. A setting that still promises more is tried
   at a rate that only a better one carries, and most such trials end the matter at once.

`verdict()` ends a trial as soon as its outcome is sure: late requests come together, so that it weighs blocks of time
and not single requests.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf, log2, sqrt
from statistics import median
from typing import Any, Final

import numpy as np

from tritonfleet.api.quantities import counted, duration_text
from tritonfleet.plan.autoscale import BatchServer, Policy
from tritonfleet.plan.autoscale import Capacity as FleetCapacity
from tritonfleet.sim.cluster import Fleet, engine_rules
from tritonfleet.sim.scenario import Plant, ServerModel, Slo
from tritonfleet.sim.state import Floats
from tritonfleet.sim.traffic import TimestampTrace

CLOSE: Final = 1.03
"""A load is known when it lies between two rates this close."""
WORTH_TRYING: Final = 1.02
"""Promise of a setting over the best measured load from which it is tried."""
AS_GOOD: Final = 0.98
"""Of settings predicted to carry this share of the best or more, the simplest is tried first."""
FIRST_STEP: Final = 1.06
"""Factor between the first two rates of a setting; each further step in the same direction is twice as wide."""
TRIALS_OF_ONE: Final = 7
"""Load trials of one setting at most."""
ROUGH_TRIALS: Final = 2
"""Load trials of the present setting before those of others."""
FAR_OFF, DOUBT = 0.8, 1.15
"""Measured over predicted load below which predictions for other batch sizes are not corrected but raised, by this."""
CHALLENGERS: Final = 8
"""Settings that are tried beside the present one, at most."""
MORE_INSTANCES: Final = 1.02
"""Gain that another instance count must promise for the search to go on to still more instances."""

REPLAYED: Final = 12_000
"""Arrivals of a prediction."""
SETTLED: Final = 0.05
"""Share of them that only fill the queue."""
HIGHEST_LOAD: Final = 0.995
"""Share of the throughput with full batches up to which rates are predicted."""
RATE_STEPS: Final = 9
_ALONE: Final = Plant(min_replicas=1, max_replicas=1)

Z: Final = 2.33
"""Standard deviations from which a verdict is sure: 1% of doubt on its side."""
FEWEST_BLOCKS: Final = 4


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What is tuned; in order, the simplest first."""

    instances: int
    queue_delay_us: int
    max_batch_size: int
    """1 when Triton forms no batches."""

    def __str__(self) -> str:
        delay = f", delay {duration_text(self.queue_delay_us)}" if self.max_batch_size > 1 else ""
        return f"batches of {self.max_batch_size}{delay}, {counted(self.instances, 'instance')}"


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The settings among which the best is sought, and the objective."""

    slo: Slo
    current: Setting
    batch_sizes: tuple[int, ...]
    queue_delays_us: tuple[int, ...]
    instance_counts: tuple[int, ...]

    def settings(self) -> Iterator[Setting]:
        """Yield every setting, the present one among them."""
        found = {self.current}
        for instances in self.instance_counts:
            for size in self.batch_sizes:
                found |= {Setting(instances, each, size) for each in (self.queue_delays_us if size > 1 else (0,))}
        yield from sorted(found)


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial and what came of it. Times are seconds."""

    setting: Setting
    rate: float
    """Requests per second that were sent; 0 for clients that never pause, from which only T(b) is learned."""
    within: bool = False
    """Whether the SLO was kept."""
    sure: bool = True
    """Whether that was sure when the trial ended, and not only likely."""
    requests: int = 0
    late: int = 0
    median_seconds: float = 0.0
    percentile_seconds: float = 0.0
    """The percentile of the SLO."""
    took_seconds: float = 0.0
    send_lag_seconds: float = 0.0
    """99th percentile of how late requests were sent; latencies include it."""
    batches: tuple[tuple[int, int, float], ...] = ()
    """Triton's statistics: size, executions, and their seconds added up."""
    lone_seconds: float = 0.0
    """Mean latency with one request for each instance, where clients never pause."""
    sigma: float = 0.0
    """Standard deviation of the logarithm of that latency."""
    failure: str = ""
    """Why the model could not be tried with this setting, in Triton's words."""

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Trial":
        """Return a trial of its JSON form; raises KeyError, TypeError or ValueError if it is malformed."""
        batches = tuple((int(size), int(count), float(spent)) for size, count, spent in document["batches"])
        return cls(**{**document, "setting": Setting(**document["setting"]), "batches": batches})


@dataclass(frozen=True, slots=True)
class NextTrial:
    """A trial to make."""

    setting: Setting
    rate: float
    """0: press, with clients that never pause."""
    why: str


@dataclass(frozen=True, slots=True)
class SettingResult:
    """What is known of the load that a setting carries within the SLO, requests per second."""

    setting: Setting
    load: float
    """Measured where there were trials, else predicted."""
    trials: int
    median_seconds: float | None = None
    """At the highest rate that it carried."""
    percentile_seconds: float | None = None
    failure: str = ""

    @property
    def measured(self) -> bool:
        """Whether it carried that load in a trial."""
        return self.percentile_seconds is not None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The result of a search."""

    best: SettingResult
    current: SettingResult
    results: tuple[SettingResult, ...]
    """Of the settings that were tried under load, the best first."""
    knobs: Mapping[str, float]
    """By what factor the load of the best setting falls with one knob as it is now."""
    service: Mapping[Setting, tuple[float, float, float]]
    """alpha and beta of T(b) = alpha + beta b in seconds, and sigma, of the best setting and the present one."""
    grid: int
    """Settings in the search space."""


def next_trial(space: SearchSpace, trials: Sequence[Trial]) -> NextTrial | None:
    """Return the trial to make after those that were made, in any order; None when the search has ended."""
    known = _Known(space, trials)
    untaught = known.untaught()
    if untaught is not None:
        return NextTrial(untaught, 0.0, "to learn how long batches take")
    if not known.learned:
        return None
    present = known.rate_to_try(space.current)
    # A rough idea of the present setting corrects the predictions; a short budget is better spent on others.
    if present is not None and len(known.loads.get(space.current, ())) < ROUGH_TRIALS:
        return NextTrial(space.current, present, "the setting as it is")
    best = known.best()
    if best is not None and best != space.current and (rate := known.rate_to_try(best)) is not None:
        return NextTrial(best, rate, "the best so far")
    challenger = known.challenger()
    if challenger is not None:
        return NextTrial(*challenger, "may carry more")
    return NextTrial(space.current, present, "the setting as it is") if present is not None else None


def outcome(space: SearchSpace, trials: Sequence[Trial]) -> SearchOutcome:
    """Sum up; without a load trial that kept the SLO, the best setting is the present one."""
    known = _Known(space, trials)
    best = known.best() or space.current
    tried = {trial.setting for trial in trials if trial.rate > 0} | {space.current}
    results = sorted((known.result(each) for each in tried), key=lambda each: (-each.measured, -each.load))
    knobs: dict[str, float] = {}
    top = known.result(best)
    for name in ("max_batch_size", "queue_delay_us", "instances"):
        values = {field: getattr(best, field) for field in ("instances", "queue_delay_us", "max_batch_size")}
        without = known.result(Setting(**{**values, name: getattr(space.current, name)}))
        if without.setting != best and without.load > 0:
            knobs[name] = top.load / without.load
    service = {
        each: (*known.line(each.instances, each.max_batch_size), known.presses[each.instances].sigma)
        for each in (best, space.current)
        if each.instances in known.learned
    }
    return SearchOutcome(
        top, known.result(space.current), tuple(results), knobs, service, sum(1 for _ in space.settings())
    )


class _Known:
    """What the trials say."""

    def __init__(self, space: SearchSpace, trials: Sequence[Trial]) -> None:
        self.space = space
        self.presses = {each.setting.instances: each for each in trials if each.rate == 0}
        self.loads: dict[Setting, list[Trial]] = {}
        for trial in trials:
            if trial.rate > 0:
                self.loads.setdefault(trial.setting, []).append(trial)
        self.learned = {
            count: _service_times([each for each in trials if each.setting.instances == count and each.rate == 0])
            for count, press in sorted(self.presses.items())
            if not press.failure
        }
        self._corrections = self._corrected()

    def untaught(self) -> Setting | None:
        """Return the setting to press next, or None if every instance count that matters is known."""
        space, best = self.space, 0.0
        counts = sorted({*space.instance_counts, space.current.instances})
        largest = max(*space.batch_sizes, space.current.max_batch_size)
        for count in counts:
            if count not in self.presses:
                return Setting(count, 0, largest)
            if count not in self.learned:
                break
            promised = max(self.predicted(Setting(count, 0, size)) for size in space.batch_sizes)
            if best and promised <= MORE_INSTANCES * best:
                break
            best = max(best, promised)
        if space.current.instances not in self.presses:
            return Setting(space.current.instances, 0, largest)
        return None

    def line(self, instances: int, batch: int) -> tuple[float, float]:
        """Return alpha and beta of T(b), as it is between half a batch and a whole one."""
        table = self.learned[instances]
        low, high = max(1.0, batch / 2), float(batch)
        first, last = _seconds_of(table, low), _seconds_of(table, high)
        if high <= low:
            return 0.0, last
        beta = max(0.0, min((last - first) / (high - low), last / high))
        return max(0.0, last - beta * high), beta

    def predicted(self, setting: Setting) -> float:
        """Return the load of a setting by the simulator; 0 if its instance count was not learned."""
        if setting.instances not in self.learned:
            return 0.0
        press = self.presses[setting.instances]
        alpha, beta = self.line(setting.instances, setting.max_batch_size)
        alone = _seconds_of(self.learned[setting.instances], 1.0)
        overhead = min(max(0.0, press.lone_seconds - alone), self.space.slo.latency_seconds)
        server = ServerModel(
            alpha_seconds=_rounded(alpha),
            beta_seconds=_rounded(max(beta, 1e-9)),
            max_batch_size=setting.max_batch_size,
            instances=setting.instances,
            max_queue_delay_seconds=setting.queue_delay_us / 1e6,
            overhead_seconds=_rounded(overhead),
            noise=_rounded(min(press.sigma, 1.0)),
        )
        return predicted_load(server, self.space.slo)

    def _corrected(self) -> dict[tuple[int, ...], float]:
        """Return measured over predicted loads: of an instance count and a batch size, of the count, and of all."""
        ratios: dict[tuple[int, ...], list[float]] = {}
        for setting in self.loads:
            low, high = self.bounds(setting)
            model = self.predicted(setting)
            if model > 0 and low > 0 and not self.failure(setting):
                measured = sqrt(low * high) if high < inf else max(low, model)
            elif model > 0 and 0 < high < model:
                measured = high
            else:
                continue
            for kind in ((setting.instances, setting.max_batch_size), (setting.instances,), ()):
                ratios.setdefault(kind, []).append(measured / model)
        return {(): 1.0, **{kind: median(each) for kind, each in ratios.items()}}

    def promised(self, setting: Setting) -> float:
        """Return the prediction, corrected, and within what trials showed.

        Where trials of other batch sizes showed that the prediction is far too high for those, it says little of this
        one, which then has the benefit of the doubt.
        """
        low, high = self.bounds(setting)
        kinds: tuple[tuple[int, ...], ...] = ((setting.instances, setting.max_batch_size), (setting.instances,), ())
        known = next(kind for kind in kinds if kind in self._corrections)
        correction = self._corrections[known]
        if known != kinds[0] and correction < FAR_OFF:
            correction = DOUBT
        return min(max(self.predicted(setting) * correction, low), high)

    def bounds(self, setting: Setting) -> tuple[float, float]:
        """Return the highest rate that was carried, 0 for none, and the lowest above it that was not."""
        made = [each for each in self.loads.get(setting, ()) if not each.failure]
        low = max((each.rate for each in made if each.within), default=0.0)
        return low, min((each.rate for each in made if not each.within and each.rate > low), default=inf)

    def failure(self, setting: Setting) -> str:
        """Return why the model could not be tried, if so."""
        made = self.loads.get(setting, ())
        return next((each.failure for each in made if each.failure), "")

    def result(self, setting: Setting) -> SettingResult:
        """Return what is known of a setting."""
        made = self.loads.get(setting, [])
        low, _ = self.bounds(setting)
        top = next((each for each in made if each.within and each.rate == low), None)
        return SettingResult(
            setting,
            low or self.promised(setting),
            len(made),
            top.median_seconds if top is not None else None,
            top.percentile_seconds if top is not None else None,
            self.failure(setting),
        )

    def best(self) -> Setting | None:
        """Return the setting with the highest measured load; of equal ones the simplest."""
        carried = [(self.bounds(each)[0], each) for each in self.loads]
        top = max((load for load, _ in carried), default=0.0)
        return min(each for load, each in carried if load == top) if top > 0 else None

    def rate_to_try(self, setting: Setting, least: float = 0.0) -> float | None:
        """Return the rate of the next trial of a setting, None if its load is known; never below `least`."""
        low, high = self.bounds(setting)
        made = self.loads.get(setting, [])
        if self.failure(setting) or len(made) >= TRIALS_OF_ONE or (low > 0 and high <= CLOSE * low):
            return None
        if not made:
            promised = self.promised(setting)
            return max(promised, least) if promised > 0 else None
        step = FIRST_STEP ** (1 << max(0, len(made) - 1))
        if high == inf:
            return low * step
        if low == 0:
            return max(high / step, least) if high > CLOSE * least else None
        return sqrt(low * high)

    def challenger(self) -> tuple[Setting, float] | None:
        """Return the most promising setting that may carry more than the best measured one, and at which rate."""
        best = self.best()
        load = self.bounds(best)[0] if best is not None else 0.0
        tried = [each for each in self.loads if each != self.space.current]
        hopeful: list[tuple[float, Setting, float]] = []
        for setting in self.space.settings():
            if setting not in self.loads and len(tried) >= CHALLENGERS:
                continue
            promised = self.promised(setting)
            if promised <= WORTH_TRYING * load or setting == best:
                continue
            rate = self.rate_to_try(setting, CLOSE * load)
            if rate is not None:
                hopeful.append((promised, setting, rate))
        if not hopeful:
            return None
        most = max(promised for promised, _, _ in hopeful)
        _, setting, rate = min((each for each in hopeful if each[0] >= AS_GOOD * most), key=lambda each: each[1])
        return setting, rate


def _service_times(presses: Iterable[Trial]) -> tuple[tuple[float, float], ...]:
    """Return the mean seconds of a batch by its size, smallest first, of sizes that were seen more than once."""
    executed: dict[int, float] = {}
    spent: dict[int, float] = {}
    for press in presses:
        for size, executions, seconds in press.batches:
            executed[size] = executed.get(size, 0.0) + executions
            spent[size] = spent.get(size, 0.0) + seconds
    enough = [size for size in sorted(executed) if executed[size] > 1] or sorted(executed)
    return tuple((float(size), spent[size] / executed[size]) for size in enough)


def _seconds_of(table: tuple[tuple[float, float], ...], batch: float) -> float:
    """Return T(batch) between the sizes that were seen; beyond them it grows with the batch."""
    if not table:
        return 0.0
    sizes, seconds = zip(*table, strict=True)
    if batch <= sizes[-1]:
        return float(np.interp(batch, sizes, seconds))
    if len(table) == 1:
        return float(seconds[0] * batch / sizes[0])
    slope = max(0.0, (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0]))
    return float(seconds[-1] + slope * (batch - sizes[-1]))


def _rounded(value: float) -> float:
    """Round to what is known, so that predictions can be looked up."""
    return float(f"{value:.3g}")


@lru_cache(maxsize=4096)
def predicted_load(server: ServerModel, slo: Slo) -> float:
    """Return the largest rate of Poisson arrivals at which the percentile of latency keeps the target."""
    if server.execution_seconds(1) + server.overhead_seconds > slo.latency_seconds:
        return 0.0
    most = server.instances * server.max_batch_size / server.execution_seconds(server.max_batch_size)
    low, high = 0.0, HIGHEST_LOAD * most
    for _ in range(RATE_STEPS):
        rate = (low + high) / 2
        low, high = (rate, high) if _keeps(server, slo, rate) else (low, rate)
    return low


@lru_cache(maxsize=1)
def _unit_arrivals() -> Floats:
    """Return Poisson arrivals of one per second: the same for every setting, so that chance does not choose."""
    return np.cumsum(np.random.default_rng(0).exponential(1.0, REPLAYED))


def _keeps(server: ServerModel, slo: Slo, rate: float) -> bool:
    times = _unit_arrivals() / rate
    end = float(times[-1]) + 2 * slo.latency_seconds + server.execution_seconds(server.max_batch_size)
    trace = TimestampTrace("replayed", times)
    rules = engine_rules(server, _ALONE, slo, 0)
    fleet = Fleet.of(rules, server.instances, trace, record=True, chunk_seconds=end)
    fleet.open(0)
    fleet.advance(end)
    latency = fleet.state.sample_latency[int(SETTLED * REPLAYED) :]
    # Not answered by the end is late as well.
    late = np.count_nonzero(~(latency <= slo.latency_seconds))
    return bool(late <= (1 - slo.percentile / 100) * len(latency))


def grid(slo: Slo, current: Setting, *, largest_batch: int, most_instances: int) -> SearchSpace:
    """Return the settings to choose from: powers of two, and queue delays as shares of the target.

    With a largest batch of 1 the model does not batch, and only its instances are tuned.
    """
    sizes = [1 << power for power in range(ceil(log2(max(1, largest_batch))) + 1)]
    kept = {size for size in sizes if size <= largest_batch} | {largest_batch}
    delays = {0, *(round(share * slo.latency_seconds * 1e6) for share in (0.01, 0.02, 0.05, 0.1, 0.2))}
    counts = {1 << power for power in range(8)} | {3}
    return SearchSpace(
        slo=slo,
        current=current,
        batch_sizes=tuple(sorted(kept)),
        queue_delays_us=tuple(sorted(delays)) if largest_batch > 1 else (0,),
        instance_counts=tuple(sorted(count for count in counts if count <= max(1, most_instances))),
    )


def verdict(blocks: Sequence[tuple[int, int]], percentile: float) -> bool | None:
    """Return whether a trial kept its SLO, if that is sure after blocks of (requests, late ones); None if not.

    Late requests come in runs. How much the blocks differ among themselves says how many independent requests they
    are worth, and Wilson's interval for so many what share may be late.
    """
    requests, late = sum(each for each, _ in blocks), sum(each for _, each in blocks)
    if len(blocks) < FEWEST_BLOCKS or not requests:
        return None
    share, allowed = late / requests, 1 - percentile / 100
    worth = float(requests)
    if 0 < late < requests:
        spread = sum((missed - share * count) ** 2 for count, missed in blocks) * len(blocks) / (len(blocks) - 1)
        worth = requests / max(1.0, spread / (requests * share * (1 - share)))
    middle = share + Z * Z / (2 * worth)
    reach = Z * sqrt(share * (1 - share) / worth + Z * Z / (4 * worth * worth))
    low, high = ((middle + side * reach) / (1 + Z * Z / worth) for side in (-1, 1))
    if high <= allowed:
        return True
    return False if low > allowed else None


def replicas_for(rate: float, policy: Policy, result: SettingResult, service: tuple[float, float, float] | None) -> int:
    """Return the replicas that the autoscaler needs for a rate, by its own law and the load of one; 0 if unknown."""
    target, setting = policy.latency_target_seconds, result.setting
    if result.load <= 0 or service is None or target is None:
        return 0
    policy = replace(
        policy,
        max_batch_size=setting.max_batch_size,
        max_queue_delay_seconds=setting.queue_delay_us / 1e6,
        instances=setting.instances,
    )
    server = BatchServer.of(policy, *service)
    # The load was measured without the limit of the queue's time, which the fleet may have beside the target.
    modelled = BatchServer.of(replace(policy, queue_seconds=None), *service).rate_at(target)
    if modelled <= 0:
        return ceil(rate / result.load)
    return FleetCapacity(result.load, server, target, result.load / modelled, infeasible=False).replicas_for(rate)
