"""The health answers say no exactly when a restart would help, or when nobody does the work."""

from dataclasses import replace

import aiohttp
import pytest

from tritonfleet.runtime.health import HealthServer, HealthSnapshot, liveness_problem, readiness_problem

WELL = HealthSnapshot(leads=True, lease_age=1.0, sweep_age=10.0, oldest_due=0.0, longest_taken=0.1)


def test_a_leader_at_work_is_well_and_ready():
    assert liveness_problem(WELL) is None
    assert readiness_problem(WELL) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"longest_taken": 301.0}, "reconcile has been running"),
        ({"oldest_due": 301.0}, "queue is stuck"),
        ({"lease_age": 31.0}, "loop is stuck"),
        ({"sweep_age": 1801.0}, "the last sweep was"),
    ],
)
def test_what_a_restart_would_cure_is_named(change, word):
    assert word in str(liveness_problem(replace(WELL, **change)))
    assert readiness_problem(replace(WELL, **change)) is not None


def test_a_leader_that_has_not_checked_its_watches_yet_is_not_ready_but_well():
    starting = replace(WELL, sweep_age=None)
    assert liveness_problem(starting) is None
    assert "first sweep has not finished" in str(readiness_problem(starting))


def test_a_follower_is_ready_while_it_could_take_over():
    follower = replace(WELL, leads=False, sweep_age=None)
    assert readiness_problem(follower) is None
    assert liveness_problem(replace(follower, lease_age=600.0)) is None
    assert "could not be read" in str(readiness_problem(replace(follower, lease_age=600.0)))


async def test_the_three_paths_answer_over_http():
    vitals = WELL
    server = HealthServer(lambda: vitals, lambda: b"up 1\n")
    await server.start(0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

            async def ask(path):
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await ask("/healthz") == (200, "ok")
            assert await ask("/readyz") == (200, "ok")
            assert await ask("/metrics") == (200, "up 1\n")
            vitals = replace(WELL, oldest_due=1000.0)
            status, text = await ask("/healthz")
            assert (status, "queue is stuck" in text) == (503, True)
    finally:
        await server.stop()
