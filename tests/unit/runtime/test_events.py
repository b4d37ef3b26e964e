"""An object that cannot be stored is counted and skipped; those beside it are not."""

from typing import cast

import pytest

from tritonfleet.adapters.cluster import Cluster, Listing
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.api.resources import MODEL_DEPLOYMENT, SCALER
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime import Telemetry, WorkQueue
from tritonfleet.runtime.watching import EventSink, Sweeper

METADATA = {"namespace": "shop", "name": "m", "uid": "u-1", "generation": 1, "resourceVersion": "5"}
FINE = {"kind": names.KIND, "metadata": METADATA, "spec": {}}
DAMAGED: list[Manifest] = [
    {"kind": SCALER.kind, "metadata": METADATA | {"name": "no-target"}, "spec": {}},
    {"kind": SCALER.kind, "metadata": METADATA | {"resourceVersion": "soon"}, "spec": {"scaleTargetRef": {}}},
    {"kind": SCALER.kind, "metadata": METADATA | {"labels": []}, "spec": None},
    {"kind": SCALER.kind},
]


class Lists:
    """A cluster that lists the same objects of every kind."""

    async def list(self, *_, **__):
        return Listing([], "9")

    async def each(self, *_, **__):
        for item in (*DAMAGED, FINE):
            yield item


def skipped(telemetry):
    return telemetry.registry.get_sample_value("tritonfleet_unreadable_objects_total", {"kind": SCALER.kind})


@pytest.mark.parametrize("body", DAMAGED, ids=["no target", "a version that is no number", "no spec", "no metadata"])
async def test_an_event_that_cannot_be_stored_is_counted_and_skipped(body):
    store, telemetry = Store(), Telemetry()
    queue: WorkQueue[Key] = WorkQueue()
    sink = EventSink(store, queue, telemetry, lambda: None)
    for event in (None, "ADDED"):
        sink.handle(event, body)
    sink.handle("ADDED", FINE)
    assert skipped(telemetry) == 2
    assert store.known() == [Key("shop", "m")]


async def test_the_first_list_skips_what_cannot_be_stored():
    store, telemetry = Store(), Telemetry()
    queue: WorkQueue[Key] = WorkQueue()
    await Sweeper(cast(Cluster, Lists()), store, queue, telemetry, [MODEL_DEPLOYMENT]).fill()
    assert skipped(telemetry) == len(DAMAGED)
    assert store.known() == [Key("shop", "m")]
