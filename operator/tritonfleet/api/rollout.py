"""`spec.rollout` and `spec.rollback`: how a change reaches the clients, and how it is taken back."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tritonfleet.api.base import ApiModel, duration, text
from tritonfleet.api.canary import Canary


class Strategy(StrEnum):
    """How one revision takes the place of another."""

    CANARY = "Canary"
    RECREATE = "Recreate"
    ROLLING_UPDATE = "RollingUpdate"


RevisionWord = Annotated[str, text(63)]
"""The name of a revision, its hash, or its number."""


class Rollout(ApiModel):
    """How a change reaches the clients."""

    strategy: Strategy | None = None
    """Canary: in steps, each analyzed. RollingUpdate: all at once when the new pods are ready. Recreate: the old pods go
    first, with an outage. Absent: Canary if `canary` is set, else RollingUpdate."""
    canary: Canary | None = None
    """The steps, and what is checked at each."""
    progress_deadline: Annotated[str, duration("30s", "24h")] = "15m"
    """How long a revision may take to become ready before the object counts as stalled, or a canary is rolled back."""
    stable_retention: Annotated[str, duration("0s", "168h")] = "10m"
    """How long the pods of the revision before stay after a promotion, so that going back takes seconds."""
    revision_history_limit: Annotated[int, Field(ge=1, le=10)] = 10
    """Revisions kept, the serving one included."""
    paused: bool = False
    """Holds a rollout where it is; safety rules still run."""
    approve: Annotated[str, text(80)] | None = None
    """Lets a step that waits go on: `REVISION:STEP`, such as shop-1a2b3c4d5e:2, as the status names it."""
    promote: RevisionWord | None = None
    """Takes this canary to 100 % now, verified but not analyzed further."""
    abort: RevisionWord | None = None
    """Takes this canary back and rejects it."""
    retry: Annotated[str, text(63)] | None = None
    """Any word that was not used before: tries a rejected revision again."""


class Rollback(ApiModel):
    """Serves an older revision in place of what the rest of the spec asks for."""

    to_revision: RevisionWord
    """Number or name of a revision that is still kept."""
