"""One look at a rollout as plain data: `-o json` and `-o yaml`."""

from typing import Any

from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.rollout.outlook import waits_for, would_change
from tritonfleet.cli.rollout.permission import command_of, permitted


def document(account: Account) -> dict[str, Any]:
    """Return what the text says; the rollout's own part as the status has it, without what is not meant for reading."""
    rollout = account.rollout
    hidden = {"analysis", "consumed"}
    return {
        "name": account.deployment.metadata.name,
        "namespace": account.deployment.metadata.namespace,
        "observed": account.observed,
        "wanted": account.wanted,
        "stable": account.stable,
        "rollout": rollout.model_dump(by_alias=True, exclude_none=True, mode="json", exclude=hidden)
        if rollout is not None
        else None,
        "pods": None if account.pods is None else _pods(account),
        "waitsFor": waits_for(account),
        "wouldChange": list(would_change(account)),
        "youMay": [command_of(verb) for verb in permitted(account)],
        "conditions": [
            entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in account.status.conditions
        ],
    }


def _pods(account: Account) -> dict[str, dict[str, int]]:
    pods = {entry.name: account.pods_of(entry.name) for entry in account.status.revisions}
    return {
        name: {"existing": counted.existing, "ready": counted.ready}
        for name, counted in pods.items()
        if counted is not None and counted.existing
    }
