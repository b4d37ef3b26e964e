"""The queue's promises, whatever is added, taken, failed and given back, and whenever."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tritonfleet.runtime import WorkQueue
from tritonfleet.runtime.workqueue import BACKOFF_LIMIT_SECONDS, PATIENCE_SECONDS, Schedule

KEYS = st.sampled_from("abcde")
SECONDS = st.floats(0, 500)


class QueueMachine(RuleBasedStateMachine):
    """Drives a schedule and keeps beside it, in plain words, what must be true of it."""

    @initialize(jitter=st.floats(0, 1, exclude_max=True))
    def begin(self, jitter):
        self.schedule: Schedule[str] = Schedule(jitter=lambda: jitter)
        self.now = 0.0
        self.promised: dict[str, float] = {}
        self.taken: set[str] = set()
        self.line: list[str] = []

    @rule(key=KEYS, after=SECONDS)
    def add(self, key, after):
        self.schedule.add(key, self.now, after)
        self._promise(key, after)

    @rule(key=KEYS, limit=st.floats(1, 300), at_least=st.floats(0, 60))
    def fail(self, key, limit, at_least):
        delay = self.schedule.fail(key, self.now, limit=limit, at_least=at_least)
        assert at_least <= delay <= max(limit, at_least)
        self._promise(key, delay)

    def _promise(self, key, after):
        self.promised[key] = min(self.now + after, self.promised.get(key, float("inf")))

    @rule(seconds=SECONDS)
    def pass_time(self, seconds):
        self.now += seconds
        self.schedule.ripen(self.now)

    @rule()
    def take(self):
        key = self.schedule.take(self.now)
        due = {key for key, moment in self.promised.items() if moment <= self.now and key not in self.taken}
        if key is None:
            assert not due, "a key is due and nobody gets it"
            return
        assert key in due, "taken though not due, or though another worker has it"
        self.taken.add(key)
        del self.promised[key]

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data):
        key = data.draw(st.sampled_from(sorted(self.taken)))
        self.taken.discard(key)
        self.schedule.give_back(key, self.now)

    @invariant()
    def the_next_moment_is_the_earliest_promise(self):
        waiting = [at for key, at in self.promised.items() if key not in self.taken and at > self.now]
        assert (self.schedule.next_moment() or float("inf")) == min(waiting, default=float("inf"))


TestQueue = QueueMachine.TestCase


def test_failures_in_a_row_wait_longer_up_to_the_limit_and_success_starts_over():
    schedule: Schedule[str] = Schedule(jitter=lambda: 1.0)
    waits = [schedule.fail("a", 0.0) for _ in range(12)]
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == BACKOFF_LIMIT_SECONDS
    schedule.succeed("a")
    assert schedule.fail("a", 0.0) == 1.0


def test_keys_are_taken_in_the_order_in_which_they_became_due():
    schedule: Schedule[str] = Schedule()
    schedule.add("late", 0.0, after=5.0)
    schedule.add("first", 0.0)
    schedule.add("second", 0.0)
    assert [schedule.take(6.0) for _ in range(4)] == ["first", "second", "late", None]


def test_a_deferred_key_gives_way_to_all_others_until_its_patience_ends():
    schedule: Schedule[str] = Schedule()
    schedule.add("rest", 0.0)
    assert schedule.take(0.0) == "rest"
    schedule.defer("rest")
    schedule.add("early", 0.0)
    schedule.give_back("rest", 0.0)
    schedule.add("late", 1.0)
    schedule.add("much later", 1.0, PATIENCE_SECONDS)
    assert [schedule.take(2.0), schedule.oldest_due(2.0), len(schedule)] == ["early", 2.0, 2]
    assert [schedule.take(PATIENCE_SECONDS + 1.0) for _ in range(3)] == ["rest", "late", "much later"]


def test_a_deferred_key_is_taken_once_nothing_else_is_due_and_only_once():
    schedule: Schedule[str] = Schedule()
    for key in ("rest", "other"):
        schedule.add(key, 0.0)
        schedule.take(0.0)
    schedule.defer("rest")
    schedule.add("rest", 0.0)
    schedule.give_back("rest", 0.0)
    schedule.add("rest", 0.0)
    assert [schedule.take(0.0), schedule.take(0.0)] == ["rest", None]
    schedule.give_back("rest", 0.0)
    assert schedule.take(PATIENCE_SECONDS) is None


async def test_many_workers_never_share_a_key_and_miss_none():
    queue: WorkQueue[int] = WorkQueue()
    active: set[int] = set()
    seen: dict[int, int] = {}
    rounds = [asyncio.Event() for _ in range(3)]

    async def work():
        while (key := await queue.take()) is not None:
            assert key not in active
            active.add(key)
            await asyncio.sleep(0.001)
            seen[key] = seen.get(key, 0) + 1
            if sum(seen.values()) % 50 == 0:
                rounds[min(seen.values()) - 1].set()
            active.discard(key)
            queue.give_back(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for round_number in range(3):
        for key in range(50):
            queue.add(key, after=0.01 * (key % 3))
        async with asyncio.timeout(120):
            await rounds[round_number].wait()
    assert set(seen.values()) == {3}
    queue.close()
    await asyncio.wait_for(asyncio.gather(*workers), 60)


async def test_closing_lets_waiting_workers_go_and_hands_out_nothing_more():
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("later", after=0.01)
    queue.close()
    assert await waiting is None
    queue.add("now")
    assert await queue.take() is None
