"""Requests move to a new revision only when nobody loses a ready pod, and old pods outlive their connections."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rolling_update import assign_roles, choose_serving, surplus_records

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LINGER = timedelta(seconds=40)


def revision(
    name: str, *, number: int = 1, ready: int = 0, wanted: int = 1, observed: bool = True, exists: bool = True
) -> KnownRevision:
    deployment: dict[str, Any] = {
        "metadata": {"generation": 2},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 2 if observed else 1,
            "readyReplicas": ready,
            "updatedReplicas": ready,
            "replicas": wanted,
        },
    }
    record = {"metadata": {"name": name}, "revision": number}
    return KnownRevision.of(name, number, record, deployment if exists else None, pods=())


def fleet(*revisions: KnownRevision) -> dict[str, KnownRevision]:
    return {one.hash: one for one in revisions}


def test_the_first_revision_serves_at_once() -> None:
    assert choose_serving("new", None, {}, 1) == "new"


def test_the_old_revision_serves_until_the_new_one_carries_all_replicas() -> None:
    old = revision("old", ready=2)
    assert choose_serving("new", "old", fleet(old), 2) == "old"
    assert choose_serving("new", "old", fleet(old, revision("new", ready=1)), 2) == "old"
    assert choose_serving("new", "old", fleet(old, revision("new", ready=2)), 2) == "new"


def test_a_count_that_is_out_of_date_moves_nothing() -> None:
    known = fleet(revision("old", ready=2), revision("new", ready=2, observed=False))
    assert choose_serving("new", "old", known, 2) == "old"


def test_one_ready_pod_is_better_than_none() -> None:
    known = fleet(revision("old", ready=0), revision("new", ready=1))
    assert choose_serving("new", "old", known, 3) == "new"


def test_a_spec_that_cannot_be_rendered_leaves_requests_where_they_are() -> None:
    assert choose_serving(None, "old", fleet(revision("old", ready=1)), 1) == "old"
    assert choose_serving(None, None, {}, 1) is None


def test_with_zero_replicas_nothing_is_waited_for() -> None:
    assert choose_serving("new", "old", fleet(revision("old", ready=1)), 0) == "new"


@given(old=st.integers(0, 5), new=st.integers(0, 5), replicas=st.integers(1, 5), current=st.booleans())
def test_the_move_never_takes_the_last_ready_pod(old: int, new: int, replicas: int, *, current: bool) -> None:
    known = fleet(revision("old", ready=old), revision("new", ready=new, observed=current))
    chosen = choose_serving("new", "old", known, replicas)
    assert chosen is not None
    assert known[chosen].ready_replicas > 0 or old == 0


def test_a_ready_revision_that_just_stopped_serving_lingers_and_then_expires() -> None:
    known = fleet(revision("old", ready=2), revision("new", number=2, ready=2))
    first = assign_roles("new", "new", frozenset({"new"}), known, {}, NOW, LINGER)
    assert (dict(first.retiring), first.in_use, first.next_expiry(LINGER)) == (
        {"old": NOW},
        {"old", "new"},
        NOW + LINGER,
    )
    later = assign_roles("new", "new", frozenset({"new"}), known, first.retiring, NOW + LINGER, LINGER)
    assert (dict(later.retiring), later.in_use, later.next_expiry(LINGER)) == ({}, {"new"}, None)


def test_a_revision_that_never_became_ready_expires_at_once() -> None:
    known = fleet(revision("half", ready=0), revision("new", number=2, ready=1))
    assert assign_roles("new", "new", frozenset({"new"}), known, {}, NOW, LINGER).in_use == {"new"}


def test_the_serving_and_the_target_revision_never_expire() -> None:
    known = fleet(revision("old", ready=0), revision("new", number=2, ready=0))
    roles = assign_roles(
        "new", "old", frozenset({"new", "old"}), known, {"old": NOW - 9 * LINGER, "new": NOW - 9 * LINGER}, NOW, LINGER
    )
    assert (dict(roles.retiring), roles.in_use) == ({}, {"old", "new"})


def test_a_time_in_the_future_does_not_keep_pods_forever() -> None:
    known = fleet(revision("old", ready=1), revision("new", number=2, ready=1))
    roles = assign_roles("new", "new", frozenset({"new"}), known, {"old": NOW + timedelta(days=9)}, NOW, LINGER)
    assert roles.retiring["old"] == NOW


def test_only_the_newest_spare_records_are_kept() -> None:
    known = fleet(*(revision(str(number), number=number, exists=False) for number in range(1, 7)))
    surplus = surplus_records(known, frozenset({"6"}), limit=2)
    assert [record["revision"] for record in surplus] == [3, 2, 1]
