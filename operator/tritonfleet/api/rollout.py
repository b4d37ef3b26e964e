"""`spec.rollout` and `spec.rollback`: how a change is rolled out and rolled back."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from tritonfleet.api.base import ApiModel, Rule, duration, matching, rule, text_of_number, text_or_number
from tritonfleet.api.canary import Canary


class Strategy(StrEnum):
    """How one revision replaces another."""

    CANARY = "Canary"
    RECREATE = "Recreate"
    ROLLING_UPDATE = "RollingUpdate"


_REVISION = "([a-z0-9-]+-)?[0-9a-f]{10}|[1-9][0-9]{0,15}"
RevisionWord = Annotated[
    str,
    BeforeValidator(text_of_number),
    text_or_number(
        63,
        "self >= 1 && self < 10000000000000000",
        f"self.matches(r'^({_REVISION})$')",
        "must be a revision: its name, such as shop-1a2b3c4d5e, its hash in quotes, or its number",
    ),
]
"""The name of a revision, its hash, or its number; YAML may take the latter two for numbers."""
_REQUESTS = ("approve", "promote", "abort", "retry")


class Rollout(ApiModel):
    """How a new revision is rolled out."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.strategy) || self.strategy != 'Canary' || has(self.canary)",
            "must be set when `strategy` is 'Canary'; `{}` takes the canary straight to 100%",
            at=".canary",
        ),
        rule(
            "!has(self.canary) || !has(self.strategy) || self.strategy == 'Canary'",
            "must be 'Canary' or absent when `canary` is set",
            got="self.strategy",
            at=".strategy",
        ),
        rule(
            "has(self.canary) || has(self.strategy) && self.strategy == 'Recreate'"
            f" || !(has(self.paused) && self.paused) && !({' || '.join(f'has(self.{name})' for name in _REQUESTS)})",
            "must be Canary or Recreate when `paused` or one of "
            + ", ".join(f"`{name}`" for name in _REQUESTS)
            + " is set: RollingUpdate does not stop",
            at=".strategy",
        ),
    )

    strategy: Strategy | None = None
    """Canary: in analyzed steps. RollingUpdate: all at once, when the new pods are ready. Recreate: stops the old pods
    first, with an outage. Absent: Canary if `canary` is set, else RollingUpdate."""
    canary: Canary | None = None
    """The steps, verification and analysis of a canary."""
    progress_deadline: Annotated[str, duration("30s", "24h")] = "15m"
    """How long a revision may take to become ready before the object counts as stalled, or a canary is rolled back."""
    stable_retention: Annotated[str, duration("0s", "168h")] = "10m"
    """How long stable's pods, in mode Surge, are kept after a promotion, so that a rollback takes seconds."""
    revision_history_limit: Annotated[int, Field(ge=1, le=10)] = 10
    """Number of revisions to keep, including the serving one."""
    paused: bool = False
    """Pauses the rollout; a failing canary is still rolled back."""
    approve: (
        Annotated[str, matching(80, f"^({_REVISION}):[1-9][0-9]?$", "must be REVISION:STEP, such as shop-1a2b3c4d5e:2")]
        | None
    ) = None
    """Approves a waiting step: `REVISION:STEP` from `status.rollout`, such as shop-1a2b3c4d5e:2."""
    promote: RevisionWord | None = None
    """Promotes this canary to 100% now, without further analysis."""
    abort: RevisionWord | None = None
    """Rolls back this canary and rejects it."""
    retry: Annotated[str, matching(63, "^[!-~]+$", "must be one word")] | None = None
    """Retries a rejected revision; any value that was not used before."""


class Rollback(ApiModel):
    """Serves an older revision instead of the rest of the spec."""

    to_revision: RevisionWord
    """Number, name or hash of a kept revision."""
