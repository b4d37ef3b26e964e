"""A change without rollout steps: it reaches all clients as soon as the new pods are ready.

Where `plan/rollout` does not apply, `reconcile()` calls `at_once()`, which decides how many pods each revision gets and
which one serves. In either case `assign_roles()` decides which revisions may be removed. With 3 replicas:

    revision 1 serves, revision 2 has 2 ready pods   3 pods of each, revision 1 serves
    revision 2 has 3 ready pods                      3 pods of revision 2, which serves; revision 1 lingers
    `linger` later                                   revision 1 is removed, its record is kept

If revision 1 has no ready pod, revision 2 serves as soon as it has one. `surplus_records()` finds the records beyond
`rollout.revisionHistoryLimit`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rollout import DesiredRollout
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True, slots=True)
class RevisionRoles:
    """The part each revision plays after this decision."""

    target: str | None
    """The revision of the spec; None while the spec cannot be rendered."""
    serving: str | None
    """The revision that the front Service selects."""
    running: frozenset[str]
    """Revisions whose pods should run."""
    retiring: Mapping[str, datetime]
    """Revisions that clients may still hold connections to, with the moment they stopped serving."""

    @property
    def in_use(self) -> frozenset[str]:
        """Every revision whose pods are needed."""
        return self.running | self.retiring.keys()

    @property
    def on_record(self) -> frozenset[str]:
        """Every revision whose record is kept regardless of `revisionHistoryLimit`."""
        roles = (self.target, self.serving)
        return self.in_use | {revision for revision in roles if revision is not None}

    def next_expiry(self, linger: timedelta) -> datetime | None:
        """Return when the first retiring revision expires."""
        return min(self.retiring.values()) + linger if self.retiring else None


def choose_serving(
    target: str | None, serving: str | None, known: Mapping[str, KnownRevision], replicas: int
) -> str | None:
    """Return the revision to serve: the target once it has as many ready pods as needed, else the current one.

    `replicas` is the desired number of pods.
    """
    if target is None or serving == target:
        return serving
    if serving is None or replicas == 0:
        return target
    candidate = known.get(target)
    if candidate is None:
        return serving
    better_than_nothing = known[serving].ready_replicas == 0 and candidate.ready_replicas > 0
    return target if candidate.can_serve(replicas) or better_than_nothing else serving


def at_once(
    target: str | None, serving: str | None, known: Mapping[str, KnownRevision], replicas: int
) -> DesiredRollout:
    """Return the desired state of a change that reaches all clients as soon as the new pods are ready."""
    serves = choose_serving(target, serving, known, replicas)
    roles = dict.fromkeys(revision for revision in (target, serves) if revision is not None)
    return DesiredRollout(
        sizes=dict.fromkeys(roles, replicas), split={serves: 100} if serves is not None else {}, stable=serves or ""
    )


def assign_roles(
    target: str | None,
    serving: str | None,
    running: frozenset[str],
    known: Mapping[str, KnownRevision],
    retired: Mapping[str, datetime],
    now: datetime,
    linger: timedelta,
) -> RevisionRoles:
    """Return the revisions that no longer serve but still linger; all others may be removed.

    `retired` holds, by hash, when a revision stopped serving. A ready revision without such a time stops now: it served
    until this very decision, or until one whose status write was lost. Clients keep connections to it for up to
    `linger` after the front Service has moved on.
    """
    retiring: dict[str, datetime] = {}
    for revision in known.values():
        if revision.hash in running or revision.deployment is None:
            continue
        since = min(retired.get(revision.hash, now), now)
        if revision.ready_replicas > 0 and now < since + linger:
            retiring[revision.hash] = since
    return RevisionRoles(target=target, serving=serving, running=running, retiring=retiring)


def surplus_records(known: Mapping[str, KnownRevision], on_record: frozenset[str], limit: int) -> tuple[Manifest, ...]:
    """Return the oldest ControllerRevisions beyond the `limit` of those kept for going back to."""
    spare = sorted(
        (revision for revision in known.values() if revision.record is not None and revision.hash not in on_record),
        key=lambda revision: revision.number,
        reverse=True,
    )
    return tuple(revision.record for revision in spare[limit:] if revision.record is not None)
