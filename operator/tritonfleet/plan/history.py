"""The list of revisions in the status: what each was and what became of it."""

from collections.abc import Mapping
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.status import Outcome
from tritonfleet.plan.assessment import Assessment
from tritonfleet.plan.digests import image_digest, model_digest
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rollout.phase import RUNNING
from tritonfleet.plan.rollout.state import State

ENTRIES_MAX = 10
_SERVED = frozenset({Outcome.SERVING, Outcome.STANDING_BY, Outcome.RETIRED})
_TRIED = frozenset({Outcome.CANARY, Outcome.SUPERSEDED})


def revision_entries(facts: Assessment) -> list[dict[str, Any]]:
    """Return the newest revisions, newest first; what only pods could tell is carried over from the last status."""
    owner = facts.deployment.metadata.name
    remembered = {entry["name"]: entry for entry in (facts.body.get("status") or {}).get("revisions") or ()}
    newest = sorted(facts.known.values(), key=lambda revision: revision.number, reverse=True)[:ENTRIES_MAX]
    return [
        _entry(facts, revision, remembered.get(names.revision_name(owner, revision.hash), {})) for revision in newest
    ]


def _entry(facts: Assessment, revision: KnownRevision, remembered: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": names.revision_name(facts.deployment.metadata.name, revision.hash),
        "number": revision.number,
        "outcome": _outcome(facts, revision, remembered).value,
        "created": revision.created,
        "image": revision.image or remembered.get("image"),
        # The first that was seen counts: a model or an image that is exchanged behind its name must be told from it.
        "imageDigest": remembered.get("imageDigest") or image_digest(revision.pods),
        "modelDigest": remembered.get("modelDigest") or model_digest(revision.pods),
        "retiredAt": _retired_at(facts, revision),
    }
    return {key: value for key, value in entry.items() if value is not None}


def _outcome(facts: Assessment, revision: KnownRevision, remembered: Mapping[str, Any]) -> Outcome:
    if revision.hash == facts.tracks.serving:
        return Outcome.SERVING if revision.ready_replicas > 0 else Outcome.PROVISIONING
    part = _part(facts.rollout, revision.hash) if facts.rollout is not None else None
    if part is not None:
        return part
    if revision.hash == facts.tracks.target:
        return Outcome.PROVISIONING
    before = remembered.get("outcome")
    served = before in _SERVED or (revision.hash in facts.tracks.retiring and before not in _TRIED)
    return Outcome.RETIRED if served else Outcome.SUPERSEDED


def _part(state: State, revision_hash: str) -> Outcome | None:
    """Return the part that a revision plays in a rollout; None if it plays none."""
    if revision_hash == state.canary and state.phase in RUNNING:
        return Outcome.CANARY
    if revision_hash == state.previous:
        return Outcome.STANDING_BY
    if any(rejection.revision == revision_hash for rejection in state.rejected):
        return Outcome.REJECTED
    return None


def _retired_at(facts: Assessment, revision: KnownRevision) -> str | None:
    since = facts.tracks.retiring.get(revision.hash)
    return since.isoformat(timespec="seconds").replace("+00:00", "Z") if since is not None else None
