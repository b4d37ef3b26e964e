"""The list of revisions in the status: what each was and what became of it."""

from collections.abc import Mapping
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.status import Outcome
from tritonfleet.plan.assessment import Assessment
from tritonfleet.plan.digests import image_digest, model_digest
from tritonfleet.plan.revisions import KnownRevision

ENTRIES_MAX = 10


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
    if revision.hash == facts.tracks.target:
        return Outcome.PROVISIONING
    served = remembered.get("outcome") in {Outcome.SERVING, Outcome.RETIRED} or revision.hash in facts.tracks.retiring
    return Outcome.RETIRED if served else Outcome.SUPERSEDED


def _retired_at(facts: Assessment, revision: KnownRevision) -> str | None:
    since = facts.tracks.retiring.get(revision.hash)
    return since.isoformat(timespec="seconds").replace("+00:00", "Z") if since is not None else None
