"""One rollout as the ticks see it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tritonfleet.adapters.pods import Target
from tritonfleet.plan.rollout.watch import Watch
from tritonfleet.runtime.closing import Closing, Snapshot
from tritonfleet.runtime.recording import Recording


@dataclass(slots=True)
class Case:
    """One rollout between two ticks."""

    uid: str
    watch: Watch
    targets: tuple[Target, ...]
    clusters: Mapping[str, str] | None
    """What the gateway calls each revision; None where latencies are not looked for there."""
    closing: Closing
    recording: Recording | None = None
    before: asyncio.Task[Snapshot] | None = None
    """What the gateway had counted when the recording began."""
    completing: asyncio.Task[None] | None = None
    verifying: asyncio.Task[None] | None = None
    asked: frozenset[str] = frozenset()
    """Pods that the last verification was made of."""
    ask_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether a window is to begin or to end at `now`, seconds since the epoch.

        None ends while the one before it is still being completed.
        """
        if self.recording is None:
            return now >= self.watch.opens_seconds
        waits = self.completing is not None and not self.completing.done()
        return not waits and now - self.recording.start_seconds >= self.watch.interval_seconds

    def addresses(self, revision: str) -> tuple[str, ...]:
        """Return where the ready pods of a revision are."""
        return tuple(target.address for target in self.targets if target.revision == revision)

    def cancel(self) -> None:
        """End what is still being asked for it."""
        for task in (self.completing, self.verifying):
            if task is not None:
                task.cancel()
