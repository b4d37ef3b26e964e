"""The engine once more, slow and plain: lists, one request at a time, for a fixed number of pods."""

from dataclasses import dataclass, field
from math import inf

from tritonfleet.sim.state import Rules


@dataclass
class Answer:
    latency_seconds: float | None = None
    pod: int = -1
    batch: int = 0


@dataclass
class Server:
    queue: list[int] = field(default_factory=list)
    running: list[tuple[float, float, list[int]]] = field(default_factory=list)
    look: float = inf
    success: int = 0
    failure: int = 0
    executions: int = 0
    queue_us: float = 0.0
    compute_us: float = 0.0

    @property
    def held(self) -> int:
        return len(self.queue) + sum(len(batch) for _, _, batch in self.running)

    @property
    def wake(self) -> float:
        return min([self.look, *(end for end, _, _ in self.running)])


class Reference:
    def __init__(self, rules: Rules, preferred: tuple[int, ...], instances: int, pods: int) -> None:
        self.rules, self.preferred, self.instances = rules, preferred, instances
        self.pods = [Server() for _ in range(pods)]
        self.times: list[float] = []
        self.answers: list[Answer] = []
        self.turn = self.drawn = 0

    def play(self, times: list[float]) -> list[Answer]:
        for now in times:
            self._until(now)
            self._arrive(now)
        self._until(inf)
        return self.answers

    def _until(self, end: float) -> None:
        while (now := min(pod.wake for pod in self.pods)) <= end and now < inf:
            for pod in self.pods:
                if pod.wake <= now:
                    self._finish(pod, now)
                    self._batch(pod, now)

    def _arrive(self, now: float) -> None:
        turn = self.turn % len(self.pods)
        self.turn += 1
        order = [*range(turn, len(self.pods)), *range(turn)]
        number = min(order, key=lambda one: self.pods[one].held) if self.rules.least_outstanding else order[0]
        pod = self.pods[number]
        self.times.append(now)
        self.answers.append(Answer(pod=number))
        if self.rules.max_queue and len(pod.queue) >= self.rules.max_queue:
            return
        pod.queue.append(len(self.times) - 1)
        if len(pod.running) < self.instances:
            self._batch(pod, now)

    def _finish(self, pod: Server, now: float) -> None:
        for end, start, batch in [one for one in pod.running if one[0] <= now]:
            pod.running.remove((end, start, batch))
            pod.success += len(batch)
            pod.executions += 1
            for request in batch:
                pod.queue_us += 1e6 * (start - self.times[request])
                pod.compute_us += 1e6 * (end - start)
                self.answers[request].latency_seconds = end - self.times[request] + self.rules.overhead
                self.answers[request].batch = len(batch)

    def _batch(self, pod: Server, now: float) -> None:
        rules = self.rules
        pod.look = inf
        while len(pod.running) < self.instances:
            limit = min(rules.timeout, rules.patience)
            fresh = [request for request in pod.queue if now < self.times[request] + limit]
            pod.failure += len(pod.queue) - len(fresh)
            pod.queue = fresh
            if not fresh:
                return
            fitting = fresh[: rules.max_batch]
            best = max((size for size in self.preferred if size <= len(fitting)), default=0)
            waited = rules.delay > 0 and now >= self.times[fresh[0]] + rules.delay
            if waited or not best:
                if not waited and rules.delay > 0 and len(fitting) < rules.max_batch:
                    pod.look = self.times[fresh[0]] + min(rules.delay, limit)
                    return
                best = len(fitting)
            noise = rules.noise[self.drawn % len(rules.noise)]
            self.drawn += 1
            end = now + (rules.alpha + rules.beta * best) * noise
            pod.running.append((end, now, fresh[:best]))
            pod.queue = fresh[best:]
