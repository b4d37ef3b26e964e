"""The simulated metrics systems: scraped at intervals, with lag, gaps and faults.

`SimulatedMetrics` answers a scaler's queries from earlier scrapes alone: the operator's own scrapes of
each pod, and Prometheus' scrapes of pods and gateway with PromQL's `rate()` and `deriv()` (promql/functions.go).
`Outage` says which of them fail at a moment, from the faults of the run.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from tritonfleet.plan.autoscale import Counters, PodSample
from tritonfleet.sim.cluster import REVISION, Cluster, Pod
from tritonfleet.sim.scalers import PerPod
from tritonfleet.sim.scenario import Blackout, Fault, PrometheusDown, SilentPods, Unscraped
from tritonfleet.sim.state import COUNTERS, Floats, Ints, quantile_of_bins


@dataclass(frozen=True, slots=True)
class Outage:
    """Returns which metrics fail at a time, from the faults of a run."""

    faults: tuple[Fault, ...]

    def blackout(self, now: float) -> bool:
        """Return whether nothing can be measured."""
        return any(isinstance(fault, Blackout) and _during(fault, now) for fault in self.faults)

    def prometheus_down(self, now: float) -> bool:
        """Return whether Prometheus is down."""
        return self.blackout(now) or any(
            isinstance(fault, PrometheusDown) and _during(fault, now) for fault in self.faults
        )

    def answering(self, pods: Sequence[Pod], now: float) -> list[Pod]:
        """Return the pods that answer a scrape; those that do not are spread evenly over young and old."""
        share = max(
            (fault.share for fault in self.faults if isinstance(fault, Unscraped) and _during(fault, now)), default=0.0
        )
        return [pod for index, pod in enumerate(pods) if floor((index + 1) * share) == floor(index * share)]

    def silent(self, pods: Sequence[Pod], now: float) -> frozenset[int]:
        """Return the serial numbers of pods whose counters all show zero."""
        count = max(
            (fault.pods for fault in self.faults if isinstance(fault, SilentPods) and _during(fault, now)), default=0
        )
        return frozenset(pod.serial for pod in pods[:count])


def _during(fault: Blackout | PrometheusDown | Unscraped | SilentPods, now: float) -> bool:
    return fault.start_seconds <= now < fault.end_seconds


EXTRAPOLATION = 1.1
"""A window's edge this many mean intervals away from the nearest point is taken to have no point by chance."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points within the window (start, end], as (seconds, value), oldest first."""

    start: float
    end: float
    points: tuple[tuple[float, float], ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The values alone."""
        return tuple(value for _, value in self.points)


def rate(series: Series, window_seconds: float) -> float | None:
    """Return a counter's increase per second, extrapolated to the window's edges; None below 2 points."""
    if len(series.points) < 2:
        return None
    (first, start_value), (last, end_value) = series.points[0], series.points[-1]
    increase = end_value - start_value
    for (_, before), (_, after) in zip(series.points, series.points[1:], strict=False):
        if after < before:
            increase += before
    covered = last - first
    interval = covered / (len(series.points) - 1)
    ahead, behind = first - series.start, series.end - last
    ahead = ahead if ahead < EXTRAPOLATION * interval else interval / 2
    behind = behind if behind < EXTRAPOLATION * interval else interval / 2
    if increase > 0 and start_value >= 0:
        ahead = min(ahead, covered * start_value / increase)
    return increase * (covered + ahead + behind) / covered / window_seconds


def slope(series: Series, _window_seconds: float) -> float | None:
    """Return deriv(): the slope of a gauge by least squares, per second; None below 2 points."""
    if len(series.points) < 2:
        return None
    times, values = np.array(series.points).T
    centered = times - times.mean()
    return float(centered @ values / (centered @ centered))


KEPT_SECONDS = 900.0
"""How long the simulated Prometheus keeps what it read: longer than any scaler's window."""
SUCCESS, FAILURE, PENDING, HELD, BUSY = 0, 1, 7, 8, 9
"""Columns of a reading: the engine's counters first."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One round of scrapes; `values` has the shape (pods, 10)."""

    at_seconds: float
    pods: tuple[Pod, ...]
    values: Floats
    gateway: Ints


class SimulatedMetrics:
    """Implements the scaler's view from earlier scrapes alone."""

    def __init__(self, cluster: Cluster, outage: Outage, seed: int) -> None:
        self._cluster, self._fleet, self._plant = cluster, cluster.fleet, cluster.plant
        self._outage = outage
        self._random = np.random.default_rng((seed, 3))
        self._samples: dict[str, PodSample] = {}
        self._direct: deque[Reading] = deque()
        self._prometheus: deque[Reading] = deque()

    @property
    def _now(self) -> float:
        return self._fleet.now

    def scrape_directly(self) -> None:
        """Scrape every pod as the operator does."""
        if not self._outage.blackout(self._now):
            self._direct.append(self._read())

    def scrape_by_prometheus(self) -> None:
        """Scrape every pod and the gateway as Prometheus does."""
        if not self._outage.prometheus_down(self._now):
            self._prometheus.append(self._read())
        while self._prometheus and self._prometheus[0].at_seconds < self._now - KEPT_SECONDS:
            self._prometheus.popleft()

    def jitter_seconds(self) -> float:
        """Draw how late a round of scrapes is."""
        return float(self._random.uniform(0.0, self._plant.jitter_seconds))

    def samples(self) -> tuple[PodSample, ...]:
        """Return the newest direct scrape of each pod that still exists."""
        while self._direct and self._direct[0].at_seconds + self._plant.lag_seconds <= self._now:
            reading = self._direct.popleft()
            at = reading.at_seconds + self._plant.lag_seconds
            for pod, values in zip(reading.pods, reading.values[:, : PENDING + 1].tolist(), strict=True):
                self._samples[pod.uid] = PodSample(pod.uid, pod.ready or 0.0, REVISION, at, Counters(*values))
        live = {pod.uid for pod in self._cluster.live}
        self._samples = {uid: sample for uid, sample in self._samples.items() if uid in live}
        return tuple(self._samples.values())

    def arrival_rate(self, window_seconds: float) -> float | None:
        """Return rate(success + failure) + deriv(pending), summed over pods."""
        total = self._sum(window_seconds, rate, SUCCESS, FAILURE)
        pending = self._sum(window_seconds, slope, PENDING)
        return None if total is None else max(0.0, total + (pending or 0.0))

    def success_rate(self, window_seconds: float) -> float | None:
        """Return rate(success), summed over pods."""
        return self._sum(window_seconds, rate, SUCCESS)

    def latency(self, percentile: float, window_seconds: float) -> float | None:
        """Return a percentile of what the gateway answered during the window, refusals included."""
        window = self._window(window_seconds)
        if len(window) < 2:
            return None
        value = quantile_of_bins(window[-1].gateway - window[0].gateway, percentile / 100)
        return None if np.isnan(value) else value

    def concurrency(self, window_seconds: float) -> float | None:
        """Return the requests held by all pods, averaged over whole seconds."""
        if self._outage.blackout(self._now):
            return None
        last = int(self._now)
        first = max(0, last - round(window_seconds))
        return float(np.mean(self._fleet.state.concurrency[first:last])) if last > first else None

    def pending(self) -> float | None:
        """Return the requests that waited at the newest scrape."""
        window = self._window(5 * 60.0)
        return float(np.sum(window[-1].values[:, PENDING])) if window else None

    def per_pod(self, name: PerPod, window_seconds: float) -> Mapping[str, float]:
        """Return one metric by pod."""
        if name == "arrivals":
            counted, waiting = (
                self._per_pod(window_seconds, rate, SUCCESS, FAILURE),
                self._per_pod(window_seconds, slope, PENDING),
            )
            return {uid: max(0.0, value + waiting.get(uid, 0.0)) for uid, value in counted.items()}
        if name == "utilization":
            return {uid: min(1.0, value) for uid, value in self._per_pod(window_seconds, rate, BUSY).items()}
        return self._per_pod(window_seconds, lambda series, _: float(np.mean(series.values)), HELD)

    def _window(self, seconds: float) -> list[Reading]:
        """Return Prometheus' points of the last seconds, oldest first."""
        if self._outage.prometheus_down(self._now):
            return []
        until = self._now - self._plant.lag_seconds
        return [reading for reading in self._prometheus if self._now - seconds < reading.at_seconds <= until]

    def _per_pod(
        self, window_seconds: float, function: Callable[[Series, float], float | None], *columns: int
    ) -> dict[str, float]:
        """Evaluate a function over each pod's series; pods with too few points are left out."""
        points: dict[str, list[tuple[float, float]]] = {}
        for reading in self._window(window_seconds):
            sums = reading.values[:, columns].sum(axis=1).tolist()
            for pod, value in zip(reading.pods, sums, strict=True):
                points.setdefault(pod.uid, []).append((reading.at_seconds, value))
        found = {
            uid: function(Series(self._now - window_seconds, self._now, tuple(pairs)), window_seconds)
            for uid, pairs in points.items()
        }
        return {uid: value for uid, value in found.items() if value is not None}

    def _sum(
        self, window_seconds: float, function: Callable[[Series, float], float | None], *columns: int
    ) -> float | None:
        values = self._per_pod(window_seconds, function, *columns)
        return sum(values.values()) if values else None

    def _read(self) -> Reading:
        """Scrape the pods that serve; some scrapes get lost."""
        pods = self._outage.answering(self._cluster.serving, self._now)
        if self._plant.loss:
            pods = [pod for pod in pods if self._random.random() >= self._plant.loss]
        state, slots = self._fleet.state, [pod.slot for pod in pods]
        values = np.empty((len(pods), 10))
        values[:, :PENDING] = np.stack([state.slots[name][slots] for name in COUNTERS], axis=1)
        values[:, PENDING] = [self._fleet.pending(slot) for slot in slots]
        values[:, HELD] = state.held[slots]
        values[:, BUSY] = [self._fleet.busy_seconds(slot) for slot in slots]
        silent = self._outage.silent(self._cluster.serving, self._now)
        values[[pod.serial in silent for pod in pods]] = 0.0
        return Reading(self._now, tuple(pods), values, state.gateway_bins.copy())
