"""`spec.rollout`: how a change reaches the clients."""

from typing import Annotated

from pydantic import Field

from tritonfleet.api.base import ApiModel, duration


class Rollout(ApiModel):
    """How a change reaches the clients."""

    progress_deadline: Annotated[str, duration("30s", "24h")] = "15m"
    """How long a revision may take to become ready before the object counts as stalled."""
    revision_history_limit: Annotated[int, Field(ge=1, le=10)] = 10
    """Revisions kept, the serving one included."""
