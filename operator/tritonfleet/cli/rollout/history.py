"""The revisions of one ModelDeployment and what became of each."""

from collections.abc import Iterator
from typing import Any

from tritonfleet.api.status import RevisionStatus
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.table import rows

_DIGEST_SHOWN = 19


def plain(account: Account) -> str:
    """Return one line for each kept revision, newest first."""
    if not account.status.revisions:
        return f"{account.title}: no revision yet"
    table = [["NUMBER", "REVISION", "OUTCOME", "CREATED", "MODEL", "IMAGE", "IMAGE DIGEST"]]
    table += [
        [
            str(entry.number),
            entry.name,
            outcome(account, entry),
            entry.created or "",
            _short(entry.model_digest),
            entry.image or "",
            _short(entry.image_digest),
        ]
        for entry in account.status.revisions
    ]
    return "\n".join(rows(table))


def outcome(account: Account, entry: RevisionStatus) -> str:
    """Return what became of a revision, its part in a rollout that is under way included."""
    rollout = account.rollout
    if rollout is not None and entry.name == rollout.canary:
        return f"{rollout.phase} ({account.weights.applied} %)"
    rejection = account.rejection(entry.name)
    if rejection is not None:
        return f"Rejected, {rejection.reason}"
    if entry.name == account.standing_by:
        return "Standing by"
    return entry.outcome.value if entry.outcome is not None else ""


def document(account: Account) -> list[dict[str, Any]]:
    """Return the same as plain data."""
    return list(_documents(account))


def _documents(account: Account) -> Iterator[dict[str, Any]]:
    for entry in account.status.revisions:
        rejection = account.rejection(entry.name)
        said = entry.model_dump(by_alias=True, exclude_none=True, mode="json")
        yield said | ({"rejected": rejection.model_dump(by_alias=True, mode="json")} if rejection is not None else {})


def _short(digest: str | None) -> str:
    return digest[:_DIGEST_SHOWN] if digest is not None else ""
