import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.plan.autoscale import Counters, Memory, decide

RATES = st.lists(st.floats(0.0, 1500.0), min_size=1, max_size=8)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
FEW = settings(max_examples=15, deadline=None)


def play(fleet, rates):
    for rate in rates:
        fleet.play(rate, 30.0)
    return fleet


@FEW
@given(rates=RATES, low=st.integers(1, 6), span=st.integers(0, 20))
def test_replicas_stay_between_the_limits_and_every_verdict_has_its_reason(new_fleet, rates, low, span):
    fleet = play(new_fleet(low, min_replicas=low, max_replicas=low + span), rates)
    for verdict in fleet.verdicts:
        assert low <= verdict.replicas <= low + span
        assert verdict.explain()


@FEW
@given(rates=RATES)
def test_the_same_past_gives_the_same_verdict(new_fleet, rates):
    assert play(new_fleet(3), rates).verdicts == play(new_fleet(3), rates).verdicts


@FEW
@given(rates=RATES)
def test_deciding_again_at_once_changes_nothing(new_fleet, rates):
    fleet = play(new_fleet(3), rates)
    again = decide(fleet.policy, fleet.memory, fleet.observe(), fleet.now)
    once_more = decide(fleet.policy, again.memory, fleet.observe(), fleet.now)
    assert once_more.replicas == again.replicas
    assert once_more.wanted == again.wanted


@FEW
@given(rates=RATES, replicas=st.integers(1, 40))
def test_the_wanted_replicas_do_not_depend_on_the_current_ones(new_fleet, rates, replicas):
    fleet = play(new_fleet(3), [200.0, *rates])
    wanted = decide(fleet.policy, fleet.memory, fleet.observe(), fleet.now).wanted
    assert decide(fleet.policy, fleet.memory, fleet.observe(replicas=replicas), fleet.now).wanted == wanted


@FEW
@given(rates=RATES, more=st.floats(1.0, 3.0))
def test_more_traffic_all_along_never_asks_for_fewer_replicas(new_fleet, rates, more):
    calm, busy = (new_fleet(20, latency_target_seconds=None) for _ in range(2))
    for fleet, factor in ((calm, 1.0), (busy, more)):
        fleet.follow = False
        play(fleet, [rate * factor for rate in [100.0, *rates]])
    busy.memory = replace(busy.memory, fits=calm.memory.fits)
    wanted = [decide(fleet.policy, fleet.memory, fleet.observe(), fleet.now).wanted for fleet in (calm, busy)]
    assert wanted[0] <= wanted[1]


@FEW
@given(rates=RATES, factor=st.sampled_from([0.001, 0.1, 10.0, 1000.0]))
def test_the_line_through_the_batches_does_not_depend_on_the_unit_of_time(new_fleet, rates, factor):
    fleet = play(new_fleet(3), [100.0, *rates])
    fit = fleet.memory.fits["one"]
    slower = replace(fit, y=fit.y * factor, xy=fit.xy * factor)
    alpha, beta = fit.line()
    assert slower.line() == pytest.approx((alpha * factor, beta * factor))


@FEW
@given(rate=st.floats(10.0, 600.0))
def test_a_restart_with_the_document_of_a_moment_ago_wants_the_same(new_fleet, rate):
    fleet, restarted = play(new_fleet(3), [rate] * 8), play(new_fleet(3), [rate] * 8)
    document = json.loads(json.dumps(restarted.memory.document()))
    restarted.memory = Memory.restore(document, restarted.now)
    assert len(json.dumps(document)) < 16_000
    assert abs(restarted.play(rate, 120.0)[-1].wanted - fleet.play(rate, 120.0)[-1].wanted) <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(Memory().document()))


@given(garbage=JSON)
def test_a_document_that_is_none_gives_a_fresh_start(garbage):
    assert Memory.restore(garbage, 1.7e9) == Memory()


@FEW
@given(key=KEYS, garbage=JSON)
def test_a_damaged_memory_never_stops_the_autoscaler(new_fleet, key, garbage):
    fleet = play(new_fleet(3), [150.0])
    fleet.memory = Memory.restore({**fleet.memory.document(), key: garbage}, fleet.now)
    assert all(verdict.replicas >= 1 for verdict in fleet.play(150.0, 60.0))


@FEW
@given(values=st.lists(ANYTHING, min_size=8, max_size=8), pod=st.integers(0, 2))
def test_one_bad_sample_never_scales_in(new_fleet, values, pod):
    fleet = new_fleet(3)
    fleet.play(120.0, 600.0)
    before = fleet.replicas

    def broken(number, sample):
        return replace(sample, counters=Counters(*values)) if number == pod else sample

    assert fleet.tick(120.0, broken=broken).replicas >= before
    assert all(verdict.replicas >= 1 for verdict in fleet.play(120.0, 60.0))
