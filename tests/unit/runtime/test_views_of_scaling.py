"""What the law is shown is never the fleet of yesterday, nor of another ModelDeployment."""

import pytest

from tests.unit.runtime.fleet import KEY, SPEC, fleet

NOWHERE = {"name": "x", "timeZone": "Mars/Base", "from": "13:00", "to": "14:00", "minReplicas": 6}
UNREADABLE = {
    "a duration that is none": {**SPEC, "slo": {"latency": {"target": "soon"}}},
    "a time zone that does not exist": {**SPEC, "autoscaling": {"maxReplicas": 3, "schedules": [NOWHERE]}},
}


@pytest.mark.parametrize("spec", UNREADABLE.values(), ids=UNREADABLE)
async def test_pods_that_come_while_the_spec_cannot_be_read_are_seen_under_the_old_one(monkeypatch, spec):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        await world.tick()
        world.deploy(KEY, pods=1, spec=spec)
        await world.tick()
        policy, _, observation, _ = world.law.shown[-1]
        assert (len(observation.pods), len(observation.samples), policy.max_replicas) == (2, 2, 9)
