"""The work queue: each key is processed at most once at a time, none is lost, none blocks another.

`Schedule` has the rules, without a clock; `WorkQueue` adds the clock and lets workers wait. Keys come from
watching.py, autoscaler.py and canary_monitor.py; the workers in controller.py take them. A failed key is retried
after a delay that doubles from 1 s to at most 300 s, with jitter.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 300.0
PATIENCE_SECONDS = 30.0
"""How long a deferred key yields to others."""


class Schedule(Generic[K]):
    """The queue's rules, without a clock: methods take the time in seconds.

    A key waits for its earliest time, becomes due, is taken by one worker and returned. If it is added while it is
    taken, it becomes due again afterwards.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._ready: deque[K] = deque()
        self._deferred: deque[K] = deque()
        self._due: dict[K, float] = {}
        self._wake: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._taken: dict[K, float] = {}
        self._again: dict[K, float] = {}
        self._defers: set[K] = set()
        self._failures: dict[K, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        """Count the keys that are due."""
        return len(self._ready) + len(self._deferred)

    def add(self, key: K, now: float, after: float = 0.0) -> None:
        """Add a key in `after` seconds; an earlier time is kept."""
        when = now + after
        if key in self._taken:
            self._again[key] = min(when, self._again.get(key, when))
        elif key not in self._due and when < self._wake.get(key, float("inf")):
            self._wake[key] = when
            self._sequence += 1
            heapq.heappush(self._timers, (when, self._sequence, key))
        self.ripen(now)

    def take(self, now: float) -> K | None:
        """Take the key that has been due for longest, deferred ones last, or None."""
        self.ripen(now)
        line = self._line(now)
        if not line:
            return None
        key = line.popleft()
        del self._due[key]
        self._taken[key] = now
        return key

    def give_back(self, key: K, now: float) -> None:
        """Return a key after processing."""
        del self._taken[key]
        again = self._again.pop(key, None)
        if key in self._defers:
            self._defers.remove(key)
            self._due[key] = now
            self._deferred.append(key)
        elif again is not None:
            self.add(key, now, max(0.0, again - now))

    def defer(self, key: K) -> None:
        """Make a taken key due again once it is returned, behind all that are not deferred."""
        self._defers.add(key)

    def fail(self, key: K, now: float, *, limit: float = BACKOFF_LIMIT_SECONDS, at_least: float = 0.0) -> float:
        """Add a key after its next backoff, at most `limit` but at least `at_least`; return the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(limit, BACKOFF_BASE_SECONDS * 2.0 ** min(failures, 30))
        # Jitter over the upper half: keys that failed together are not retried together.
        delay = max(at_least, ceiling * (0.5 + 0.5 * self._jitter()))
        self.add(key, now, delay)
        return delay

    def failures(self, key: K) -> int:
        """Count the failures of a key in a row."""
        return self._failures.get(key, 0)

    def succeed(self, key: K) -> None:
        """Reset the backoff of a key."""
        self._failures.pop(key, None)

    def next_moment(self) -> float | None:
        """Return when the next waiting key becomes due, or None if none waits."""
        while self._timers and self._wake.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def taken(self) -> int:
        """Count the keys that are being processed."""
        return len(self._taken)

    def oldest_due(self, now: float) -> float:
        """Return for how many seconds the first key has been due."""
        heads = [line[0] for line in (self._ready, self._deferred) if line]
        return now - min((self._due[key] for key in heads), default=now)

    def longest_taken(self, now: float) -> float:
        """Return for how many seconds the longest running key has been processed."""
        return now - min(self._taken.values(), default=now)

    def _line(self, now: float) -> deque[K]:
        patient = self._deferred and now - self._due[self._deferred[0]] < PATIENCE_SECONDS
        return self._deferred if self._deferred and not (patient and self._ready) else self._ready

    def ripen(self, now: float) -> None:
        """Move waiting keys that are due into the queue."""
        moment = self.next_moment()
        while moment is not None and moment <= now:
            _, _, key = heapq.heappop(self._timers)
            del self._wake[key]
            self._ready.append(key)
            self._due[key] = moment
            moment = self.next_moment()


class WorkQueue(Generic[K]):
    """A `Schedule` on the event loop's clock that workers can wait on."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self.schedule: Schedule[K] = Schedule()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def add(self, key: K, after: float = 0.0) -> None:
        """Add a key in `after` seconds."""
        self.schedule.add(key, self._clock(), after)
        self._wake()

    def fail(self, key: K, *, limit: float = BACKOFF_LIMIT_SECONDS, at_least: float = 0.0) -> float:
        """Add a key after its next backoff; return the seconds."""
        delay = self.schedule.fail(key, self._clock(), limit=limit, at_least=at_least)
        self._wake()
        return delay

    async def take(self) -> K | None:
        """Wait for a due key and take it; None once the queue is closed."""
        while not self._closed:
            key = self.schedule.take(self._clock())
            if key is not None:
                self._wake()
                return key
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._arm()
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return None

    def give_back(self, key: K) -> None:
        """Return a key after processing."""
        self.schedule.give_back(key, self._clock())
        self._wake()

    def close(self) -> None:
        """Close the queue: workers take no further keys."""
        self._closed = True
        while self._waiters:
            _release(self._waiters.popleft())
        if self._timer is not None:
            self._timer.cancel()

    @property
    def now(self) -> float:
        """The queue's clock, seconds."""
        return self._clock()

    def _wake(self) -> None:
        if len(self.schedule) and self._waiters:
            _release(self._waiters.popleft())
        self._arm()

    def _arm(self) -> None:
        """Arm the timer for the next due key."""
        moment = self.schedule.next_moment()
        if moment is None or not self._waiters or self._closed:
            return
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() <= moment:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(moment, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.schedule.ripen(self._clock())
        self._wake()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
