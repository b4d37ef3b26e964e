"""The engine once more, slow and plain: lists and objects, one request at a time, for a fixed number of pods."""

from dataclasses import dataclass, field
from math import inf

from tritonfleet.sim import EngineRules


@dataclass
class Answer:
    latency_seconds: float | None = None
    pod: int = -1
    batch: int = 0


@dataclass
class Batch:
    requests: list[int] = field(default_factory=list)
    staged: bool = False
    running: bool = False
    saturated: bool = False


@dataclass
class Server:
    """One Triton; `queue`, `staged` and `running` hold numbers of requests, oldest first."""

    rules: EngineRules
    preferred: tuple[int, ...]
    instances: int
    times: list[float]
    queue: list[int] = field(default_factory=list)
    staged: list[Batch] = field(default_factory=list)
    running: list[tuple[float, float, Batch]] = field(default_factory=list)
    current: Batch = field(default_factory=Batch)
    enough: int = 0
    alarm: float = inf
    executions: int = 0

    @property
    def held(self) -> int:
        batches = [*self.staged, *(batch for _, _, batch in self.running)]
        return len(self.queue) + sum(len(batch.requests) for batch in batches)

    @property
    def wake(self) -> float:
        return min([self.alarm, *(end for end, _, _ in self.running)])

    def room(self, started: int = 0) -> bool:
        if self.rules.prefetch:
            return len(self.staged) < 2 * self.instances
        return len(self.running) + started < self.instances

    def arrive(self, request: int, now: float) -> list[Batch]:
        """Take a request in; return the batches that start."""
        self.queue.append(request)
        wakes = self.current.saturated or self.current.running or len(self.queue) >= self.enough
        return self.think(now) if wakes and self.room() else []

    def think(self, now: float) -> list[Batch]:
        """Do what the batcher's thread does until it sleeps again."""
        started: list[Batch] = []
        while True:
            if self.current.saturated or self.current.running:
                self.current, self.enough = Batch(), 0
            if not self.queue or not self.room(len(started)):
                if now >= self.alarm:
                    self.expire(now)
                self.alarm = now + 0.5 if self.running or started or self.enough > 1 else inf
                return started
            count = self.choose(now)
            if count is None:
                return started
            if count:
                self.current.requests += self.queue[:count]
                self.queue = self.queue[count:]
                if not self.current.staged:
                    self.current.staged = True
                    self.staged.append(self.current)
                started += self.run(now, len(self.running) + len(started))

    def expire(self, now: float) -> None:
        limit = min(self.rules.timeout, self.rules.patience)
        self.queue = [one for one in self.queue if now < self.times[one] + limit]

    def choose(self, now: float) -> int | None:
        self.expire(now)
        batch, largest = self.current, max(self.preferred)
        size = len(batch.requests)
        fitting = min(len(self.queue), self.rules.max_batch - size)
        best = max((some for some in range(1, fitting + 1) if size + some in self.preferred), default=0)
        if size + len(self.queue) > largest and not best:
            batch.saturated = True
            best = 1 if fitting > 1 and size >= largest else 0
        if not fitting:
            return 0
        oldest = self.times[self.queue[0]]
        waited = self.rules.delay > 0 and now >= oldest + self.rules.delay
        if best and not waited:
            batch.saturated |= self.rules.delay == 0
            return best
        if size + fitting >= largest:
            batch.saturated = True
            return fitting
        if waited or self.rules.delay == 0:
            return fitting
        self.enough = (
            min((some for some in self.preferred if some > size + fitting), default=min(self.preferred)) - size
        )
        if not batch.saturated and size and size not in self.preferred:
            return fitting
        self.alarm = oldest + min(self.rules.delay, self.rules.timeout, self.rules.patience)
        return None

    def run(self, now: float, busy: int) -> list[Batch]:
        """Take staged batches for idle instances, each with those behind it that fit and have waited."""
        started: list[Batch] = []
        while self.staged and busy + len(started) < self.instances:
            batch = self.staged.pop(0)
            batch.running = True
            while self.rules.delay and self.staged and now - self.times[self.staged[0].requests[0]] > self.rules.delay:
                self.staged[0].running = True
                if len(batch.requests) + len(self.staged[0].requests) > self.rules.max_batch:
                    break
                batch.requests += self.staged.pop(0).requests
            started.append(batch)
        return started


class Reference:
    def __init__(self, rules: EngineRules, preferred: tuple[int, ...], instances: int, pods: int) -> None:
        self.rules = rules
        self.times: list[float] = []
        self.pods = [Server(rules, preferred, instances, self.times) for _ in range(pods)]
        self.answers: list[Answer] = []
        self.turn = self.drawn = 0

    def play(self, times: list[float]) -> list[Answer]:
        for now in times:
            self._until(now)
            self._arrive(now)
        while any(pod.held for pod in self.pods):
            self._until(min(pod.wake for pod in self.pods))
        return self.answers

    def _until(self, end: float) -> None:
        while (now := min(pod.wake for pod in self.pods)) <= end:
            for pod in self.pods:
                if pod.wake <= now:
                    self._happen(pod, now)

    def _happen(self, pod: Server, now: float) -> None:
        for end, start, batch in [one for one in pod.running if one[0] <= now]:
            pod.running.remove((end, start, batch))
            pod.executions += 1
            for request in batch.requests:
                self.answers[request].latency_seconds = end - self.times[request] + self.rules.overhead
                self.answers[request].batch = len(batch.requests)
        started = pod.run(now, len(pod.running))
        self._start(pod, started, now)
        if started or not self.rules.prefetch or pod.alarm <= now:
            self._start(pod, pod.think(now), now)

    def _arrive(self, now: float) -> None:
        turn = self.turn % len(self.pods)
        self.turn += 1
        order = [*range(turn, len(self.pods)), *range(turn)]
        if len(self.rules.draws):
            number = int(self.rules.draws[(len(self.times) + 1) % len(self.rules.draws)] * len(self.pods))
        else:
            number = min(order, key=lambda one: self.pods[one].held) if self.rules.least_outstanding else order[0]
        pod = self.pods[number]
        self.times.append(now)
        self.answers.append(Answer(pod=number))
        if not self.rules.max_queue or len(pod.queue) < self.rules.max_queue:
            self._start(pod, pod.arrive(len(self.times) - 1, now), now)

    def _start(self, pod: Server, batches: list[Batch], now: float) -> None:
        for batch in batches:
            noise = self.rules.noise[self.drawn % len(self.rules.noise)]
            self.drawn += 1
            took = (self.rules.alpha + self.rules.beta * len(batch.requests)) * noise
            pod.running.append((now + took, now, batch))
