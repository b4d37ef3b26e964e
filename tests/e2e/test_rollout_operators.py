"""Operators that die at every write, or are two at once, change nothing about where a rollout ends.

They run outside of the cluster, on a namespace of their own: what is done to them could not be done to a pod.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from devcluster.addons import prometheus
from devcluster.release import OPERATOR_IMAGE, TRITON_IMAGE
from tests.cluster.harness import RunningOperator
from tests.e2e.shop import ANALYSIS, Shop, replaced, rollout

pytestmark = pytest.mark.acceptance

Open = Callable[..., AbstractContextManager[Shop]]
RATE = 25.0
WRITES_EACH = 2
"""So many writes an operator makes before it dies of the last of them."""
QUICK = rollout(analysis=ANALYSIS | {"windows": 2, "minRequests": 50})
END_SECONDS = 240.0


def run(shop: Shop, identity: str, after: Callable[..., Awaitable[object] | None] | None = None) -> RunningOperator:
    """Start an operator for the shop's namespace with a lease of its own, so that it waits for no other."""
    return RunningOperator(
        shop.place.cluster.kubeconfig,
        shop.place.namespace,
        identity=identity,
        lease=identity,
        after=after,
        serial=True,
        prometheus_url=prometheus.address(shop.place.cluster),
        triton_image=TRITON_IMAGE,
        allow_unsafe_image=True,
        fetch_image=OPERATOR_IMAGE,
        fetch_allow_private_addresses=True,
        gateway_api=True,
    ).start()


@contextmanager
def dying(shop: Shop, identity: str) -> Iterator[RunningOperator]:
    """Run an operator whose every WRITES_EACH-th write takes effect and is its last."""

    def die(_method: str, _kind: str, number: int) -> Awaitable[object] | None:
        if number + 1 < WRITES_EACH:
            return None
        operator.cluster.dead = True
        return asyncio.Event().wait()

    operator = run(shop, identity, die)
    try:
        yield operator
    finally:
        operator.kill()


@pytest.fixture
def shop(operator_at_rest: None, open_shop: Open) -> Iterator[Shop]:
    """A shop that no operator looks after yet."""
    with open_shop(replicas=2, rollout=QUICK) as shop:
        first = run(shop, "first")
        shop.wait_for("Stable")
        first.stop()
        yield shop


def test_a_rollout_goes_on_through_operators_that_die_one_after_the_other(shop: Shop) -> None:
    over = replaced(shop.stable)
    with shop.traffic(RATE) as load:
        asked = shop.change("better")
        deadline, operators = time.monotonic() + END_SECONDS, 0
        while not over(shop.chronicle.snapshots[-1]):
            assert time.monotonic() < deadline, shop.chronicle.story(asked)
            operators += 1
            with dying(shop, f"operator-{operators}") as operator:
                while not (operator.cluster.dead or over(shop.chronicle.snapshots[-1]) or time.monotonic() > deadline):
                    time.sleep(0.1)
    assert operators >= 5
    assert load.answers().failed == 0, load.problems()
    assert [weight for weight in shop.chronicle.weights(asked) if weight][:2] == [25, 100]
    assert shop.status["attempt"] == 1


def test_two_operators_at_once_take_each_step_once(shop: Shop) -> None:
    over = replaced(shop.stable)
    with ExitStack() as stack, shop.traffic(RATE) as load:
        for identity in ("one", "other"):
            stack.callback(run(shop, identity).kill)
        asked = shop.change("better")
        shop.wait_until("another is stable", over, since=asked)
    assert load.answers().failed == 0, load.problems()
    taken = Counter((entry["from"], entry["to"]) for entry in shop.status["history"])
    assert {passage: times for passage, times in taken.items() if times > 1} == {("Shifting", "Analyzing"): 2}, taken
    rising = shop.chronicle.weights(asked)
    assert rising[: rising.index(100) + 1] == sorted(rising[: rising.index(100) + 1])
