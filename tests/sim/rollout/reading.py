"""The state of a rollout as the operator reads it back; each document is read once."""

from tritonfleet.plan.rollout import State, restore_state
from tritonfleet.plan.world import Manifest

KEPT_MAX = 1000
_kept: dict[int, tuple[Manifest, State | None]] = {}
"""By the document's identity: documents are replaced and never changed."""


def state_of(body: Manifest) -> State | None:
    """Return what `status.rollout` says; None if there is nothing, or nothing that can be read."""
    document = (body.get("status") or {}).get("rollout")
    if document is None:
        return None
    found = _kept.get(id(document))
    if found is None or found[0] is not document:
        if len(_kept) >= KEPT_MAX:
            _kept.clear()
        found = _kept[id(document)] = (document, restore_state(document))
    return found[1]
