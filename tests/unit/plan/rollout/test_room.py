"""Which pods a rollout looks for room for."""

import pytest

from tritonfleet.plan.rollout import Phase, pod_that_needs_room
from tritonfleet.plan.world import ChildId, Defaults

DEFAULTS = Defaults("nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="operator:1")
CANARY = ChildId("ControllerRevision", "demo-bbbbbbbbbb")
RECORDED = {"metadata": {}, "spec": {"containers": [{"name": "triton"}], "nodeSelector": {"gpu": "h200"}}}


def body(phase, **spec):
    return {
        "metadata": {"name": "demo", "namespace": "shop", "uid": "u"},
        "spec": {"model": {"uri": "s3://models/m/1", "backend": "onnxruntime"}, **spec},
        "status": {"rollout": {"phase": phase, "canary": CANARY.name}},
    }


@pytest.mark.parametrize("phase", Phase)
def test_room_is_looked_for_while_pods_are_to_be_started_and_at_no_other_time(phase):
    looks = phase in {Phase.ADMITTING, Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY}

    assert (pod_that_needs_room(body(phase), {}, DEFAULTS) is not None) == looks


def test_without_a_rollout_no_capacity_is_searched():
    assert pod_that_needs_room(body(Phase.STABLE) | {"status": {}}, {}, DEFAULTS) is None


def test_the_canary_is_what_was_recorded_of_it():
    children = {CANARY: {"data": {"template": RECORDED}}}

    assert pod_that_needs_room(body(Phase.PROVISIONING), children, DEFAULTS) is RECORDED


def test_before_it_is_recorded_it_is_what_the_spec_renders_to():
    found = pod_that_needs_room(body(Phase.ADMITTING, server={"gpu": {"count": 4}}), {}, DEFAULTS)

    assert found is not None
    limits = [each["resources"]["limits"] for each in found["spec"]["containers"] if each["name"] == "triton"]
    assert limits[0]["nvidia.com/gpu"] == "4"


def test_a_spec_that_cannot_be_rendered_needs_no_room():
    assert pod_that_needs_room(body(Phase.ADMITTING, model={"uri": 3}), {}, DEFAULTS) is None
