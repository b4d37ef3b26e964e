"""A rollout as text, data and sparklines; its history; and the difference of two revisions.

Each function takes an `Account` and returns text or plain data; `command.py` chooses among them: `plain()` and `Graphs`
for `status` (with `--watch`), `document()` for `-o json` and `-o yaml`, `history_text()` and `history_document()` for
`history`, `difference()` for `diff`.
"""

import difflib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.quantities import counted
from tritonfleet.api.rollout_status import Check, RolloutStatus
from tritonfleet.api.status import RevisionStatus
from tritonfleet.cli.arguments import format_duration
from tritonfleet.cli.rollout.model import Account, waits_for, would_change
from tritonfleet.cli.rollout.requests import command_of, permitted
from tritonfleet.cli.terminal import UsageError, rows, sparkline
from tritonfleet.plan.objects import readable_spec, revision_from
from tritonfleet.plan.rollout import Phase, resolve_revision, traits_of
from tritonfleet.plan.rollout.analysis import EXPLAINED, Outcome, Why, percent, probability, rank, value_of
from tritonfleet.plan.rollout.analysis import PROMQL_PREFIX as PROMQL
from tritonfleet.plan.world import Manifest

_LABEL_WIDTH: Final = 14
_TRANSITIONS_SHOWN: Final = 6
_SERVING: Final = (Phase.INITIALIZING, Phase.STABLE)
"""Where the results of the last canary are not shown."""

KEPT: Final = 600
_GRAPH_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 10

_DIGEST_SHOWN = 19

_OWN_NAME = "REVISION"
_LEFT_OUT: Final = frozenset(
    {Why.BAD_ANSWER, Why.NO_SERIES, Why.OTHER_HARDWARE, Why.PODS_MISSING, Why.TOO_FEW_REQUESTS}
    | {Why.UNEQUAL_LOAD, Why.UNREACHABLE, Why.WARMING_UP}
)
"""Reasons of checks whose evidence is missing or says nothing about the version; their messages say why."""


def plain(account: Account) -> str:
    """Return everything; lines are wide rather than wrapped, as kubectl's are."""
    blocks = (_head, _revisions, _checks, _outlook, _rejected, _transitions)
    return "\n\n".join(text for block in blocks if (text := "\n".join(block(account))))


def headline(account: Account) -> str:
    """Return one line: phase, step, and since when."""
    rollout = account.rollout
    if rollout is None:
        ready = "ready" if account.is_true(ConditionType.READY) else "not ready"
        return f"{account.title}: {ready}; no canary rollouts (rollout.canary is not set)"
    step = f", step {rollout.step} of {rollout.steps}" if rollout.step is not None else ""
    mode = f", {rollout.mode}" if rollout.mode and traits_of(rollout.phase).under_way else ""
    return f"{account.title}: {rollout.phase}{step}{mode}, for {_ago(account, rollout.entered_at)}"


def _head(account: Account) -> Iterator[str]:
    yield headline(account)
    if account.rollout is not None and account.rollout.message:
        yield (
            f"{account.rollout.reason}: {account.rollout.message}"
            if account.rollout.reason
            else account.rollout.message
        )
    if not account.observed:
        yield "the operator has not processed the latest spec yet; this is about the previous one"
    if account.is_asked:
        yield "a request is pending: the operator has not handled it yet"


def _revisions(account: Account) -> Iterator[str]:
    rollout = account.rollout
    canary = rollout.canary if rollout is not None else _coming(account)
    table = [["", "REVISION", "PODS", "READY", "TRAFFIC"]]
    coming = "first" if account.phase is Phase.INITIALIZING else "canary"
    for role, name in ((coming, canary), ("stable", account.stable), ("standby", account.standing_by)):
        if name is not None:
            pods = account.pods_of(name)
            counts = [str(pods.existing), str(pods.ready)] if pods is not None else ["?", "?"]
            table.append([role, account.called(name), *counts, _traffic(rollout, role)])
    yield from rows(table)
    if account.pods is None:
        yield "(no permission to list pods in this namespace)"


def _coming(account: Account) -> str | None:
    return account.wanted if account.wanted != account.stable else None


def _traffic(rollout: RolloutStatus | None, role: str) -> str:
    weights = rollout.weights if rollout is not None else None
    if weights is None or rollout is None or rollout.canary is None or role == "standby":
        return "100%" if role == "stable" else "0%"
    desired, applied, measured = weights.desired, weights.applied, weights.measured
    if role == "stable":
        desired, applied = 100 - desired, 100 - applied
        measured = 100 - measured if measured is not None else None
    seen = f", {measured:.3g}% measured" if measured is not None else ""
    return f"{desired}% desired, {applied}% applied{seen}"


def _checks(account: Account) -> Iterator[str]:
    rollout = account.rollout
    if rollout is None or account.phase in _SERVING or not (rollout.results or rollout.verification):
        return
    if rollout.results:
        yield from rows([["CHECK", "CANARY", "STABLE", "LIMIT", "P", "VERDICT"], *map(_result, rollout.results)])
    else:
        yield from rows([["CHECK", "VERDICT"], *([each.check, _verdict(each)] for each in rollout.verification)])
    checks = rollout.results or rollout.verification
    considered = [each for each in checks if not _is_left_out(each)]
    decisive = min(considered, key=lambda each: rank(each.outcome, each.reason), default=None)
    for check in checks:
        if check.message and (check.outcome != Outcome.PASSED or _is_left_out(check)):
            label = "left out" if _is_left_out(check) else "decided by" if check is decisive else ""
            yield _labeled(label, check.message if check.message.startswith(check.check) else _said(check))
    silent = int(rollout.analysis.get("silent") or 0)
    if silent and account.phase is Phase.ANALYZING:
        yield _labeled("left out", f"{counted(silent, 'window')}, as no request came")


def _said(check: Check) -> str:
    return f"{check.check}: {check.message}"


def _is_left_out(check: Check) -> bool:
    """Return whether the check had no evidence that counts, or passed because something else explains its own."""
    if check.outcome == Outcome.PASSED:
        return (check.message or "").startswith(EXPLAINED)
    return check.outcome != Outcome.FAILED and check.reason in _LEFT_OUT


def _result(result: Check) -> list[str]:
    return [
        result.check,
        _valued(result, result.canary, result.canary_samples),
        _valued(result, result.stable, result.stable_samples),
        _valued(result, result.limit, None),
        probability(result.p_value).removeprefix("p").removeprefix("=") if result.p_value is not None else "",
        _verdict(result),
    ]


def _verdict(check: Check) -> str:
    return check.outcome if check.outcome == Outcome.PASSED else f"{check.outcome}, {check.reason}"


def _valued(result: Check, value: float | None, requests: float | None) -> str:
    if value is None:
        return ""
    shown = value_of(value) if result.check.startswith(PROMQL) else percent(value)
    return f"{shown} ({requests:,.0f})" if requests is not None else shown


def _outlook(account: Account) -> Iterator[str]:
    yield _labeled("waiting for", waits_for(account))
    label = "next"
    for change in would_change(account):
        yield _labeled(label, change)
        label = ""
    verbs = [command_of(verb) for verb in permitted(account)]
    if verbs:
        yield _labeled("actions", ", ".join(verbs))


def _labeled(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{text}"


def _rejected(account: Account) -> Iterator[str]:
    for entry in account.rollout.rejected if account.rollout is not None else ():
        ago = _ago(account, entry.at)
        why = f"{entry.reason}: {entry.message}" if entry.message else entry.reason
        yield _labeled("rejected", f"{account.called(entry.revision)} {ago} ago, {why}")


def _transitions(account: Account) -> Iterator[str]:
    history = account.rollout.history if account.rollout is not None else ()
    if history:
        yield "last transitions"
        yield from rows(
            [
                [
                    f"  {_ago(account, entry.at)} ago",
                    f"{entry.source} -> {entry.target}",
                    entry.reason or "",
                    entry.message or "",
                ]
                for entry in history[:_TRANSITIONS_SHOWN]
            ]
        )


def _ago(account: Account, moment: str) -> str:
    return format_duration(max(1, round(account.seconds_since(moment))))


@dataclass
class Graphs:
    """Time series of the canary's share of the traffic in percent, and of ready pods."""

    interval_seconds: float
    weights: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    measured: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    canary: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    stable: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, account: Account) -> None:
        """Append one sample."""
        rollout = account.rollout
        self.weights.append(float(account.weights.applied))
        self.measured.append(account.weights.measured)
        self.canary.append(_ready(account, rollout.canary if rollout is not None else None))
        self.stable.append(_ready(account, account.stable))

    def lines(self, width: int) -> Iterator[str]:
        """Yield a sparkline of each, cut to the width; all shares, and all pods, have one scale."""
        room = max(10, width - _GRAPH_LABEL_WIDTH - _VALUE_WIDTH)
        most = max((count for count in (*self.canary, *self.stable) if count is not None), default=0.0)
        yield f"the last {format_duration(max(1.0, min(room, len(self.weights)) * self.interval_seconds))}"
        yield _line("applied", self.weights, room, 100.0, "%")
        yield _line("measured", self.measured, room, 100.0, "%")
        yield _line("canary", self.canary, room, most, " ready")
        yield _line("stable", self.stable, room, most, " ready")


def _ready(account: Account, name: str | None) -> float | None:
    pods = account.pods_of(name)
    return float(pods.ready) if pods is not None else None


def _line(label: str, values: deque[float | None], room: int, highest: float, unit: str) -> str:
    last = values[-1] if values else None
    said = f"{last:.3g}{unit}" if last is not None else "-"
    return f"  {label:<{_GRAPH_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:], highest=highest)} {said}"


def document(account: Account) -> dict[str, Any]:
    """Return the data of the text; `rollout` is status.rollout without its internal fields."""
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
        "waitingFor": waits_for(account),
        "next": list(would_change(account)),
        "actions": [command_of(verb) for verb in permitted(account)],
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


def history_text(account: Account) -> str:
    """Return a table of the revisions, newest first."""
    if not account.status.revisions:
        return f"{account.title}: no revision yet"
    table = [["NUMBER", "REVISION", "OUTCOME", "CREATED", "MODEL", "IMAGE", "IMAGE DIGEST"]]
    table += [
        [
            str(entry.number),
            entry.name,
            outcome_of(account, entry),
            entry.created or "",
            _short(entry.model_digest),
            entry.image or "",
            _short(entry.image_digest),
        ]
        for entry in account.status.revisions
    ]
    return "\n".join(rows(table))


def outcome_of(account: Account, entry: RevisionStatus) -> str:
    """Return the outcome of a revision, or its role in the current rollout."""
    rollout = account.rollout
    if rollout is not None and entry.name == rollout.canary:
        return f"{rollout.phase} ({account.weights.applied}%)"
    rejection = account.rejection(entry.name)
    if rejection is not None:
        return f"Rejected, {rejection.reason}"
    if entry.name == account.standing_by:
        return "Standby"
    return entry.outcome.value if entry.outcome is not None else ""


def history_document(account: Account) -> list[dict[str, Any]]:
    """Return the history as plain data."""
    return list(_history_documents(account))


def _history_documents(account: Account) -> Iterator[dict[str, Any]]:
    for entry in account.status.revisions:
        rejection = account.rejection(entry.name)
        said = entry.model_dump(by_alias=True, exclude_none=True, mode="json")
        yield said | ({"rejected": rejection.model_dump(by_alias=True, mode="json")} if rejection is not None else {})


def _short(digest: str | None) -> str:
    return digest[:_DIGEST_SHOWN] if digest is not None else ""


def found(records: Iterable[Manifest], word: str) -> Manifest:
    """Return the ControllerRevision with this name, hash or number; raises UsageError if there is none."""
    by_hash = {record["metadata"]["labels"][names.REVISION_LABEL]: record for record in records}
    numbers = {revision: int(record["revision"]) for revision, record in by_hash.items()}
    chosen = resolve_revision(word, numbers)
    if chosen is None:
        kept = ", ".join(str(number) for number in sorted(numbers.values())) or "none"
        raise UsageError(f"revision '{word}' not found; available: {kept}")
    return by_hash[chosen]


def difference(before: Manifest, after: Manifest) -> str:
    """Return a unified diff of two ControllerRevisions, empty if they are equal; InvalidSpec if one is unreadable."""
    old, new = _documents(before), _documents(after)
    return "".join(
        line for name in sorted(old.keys() | new.keys()) for line in _file_diff(name, before, after, old, new)
    )


def _file_diff(
    name: str, before: Manifest, after: Manifest, old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[str]:
    yield from difflib.unified_diff(
        old.get(name, "").splitlines(keepends=True),
        new.get(name, "").splitlines(keepends=True),
        f"{before['metadata']['name']} ({before['revision']})/{name}",
        f"{after['metadata']['name']} ({after['revision']})/{name}",
    )


def _documents(record: Manifest) -> Mapping[str, str]:
    revision = revision_from(record)
    # Before it becomes YAML, which quotes a hash that consists of digits and no other.
    template = json.loads(json.dumps(revision.template).replace(revision.hash, _OWN_NAME))
    return {
        "spec.yaml": yaml.safe_dump(readable_spec(revision.data["spec"]), sort_keys=True),
        "pods.yaml": yaml.safe_dump(template, sort_keys=True),
        **{name: text if text.endswith("\n") else f"{text}\n" for name, text in revision.config.items()},
    }
