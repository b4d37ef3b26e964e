"""What the status says when something happened that nobody asked for."""

from typing import Any

from tritonfleet.api import names


def test_an_evicted_pod_beside_ready_ones_is_mentioned_by_a_model_that_is_ready(world: Any) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    world.pods.append(
        {
            "kind": "Pod",
            "metadata": {"name": "m-gone", "labels": {names.REVISION_LABEL: revision}},
            "spec": {"containers": [], "nodeName": "n1"},
            "status": {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
                "containerStatuses": [{"name": "triton", "state": {"terminated": {"exitCode": 137}}}],
            },
        }
    )
    world.settle()
    ready, _, message = world.condition("Ready")
    assert ready == "True"
    assert message == (
        "1/1 replicas of revision 1 ready and serving; 1 pod evicted or rejected, the last one 'm-gone' on node 'n1': "
        "Evicted: The node was low on resource: memory."
    )
    assert world.condition("Stalled")[0] == "False"
