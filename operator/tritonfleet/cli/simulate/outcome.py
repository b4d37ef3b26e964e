"""What a simulation came to: every scaler's run on the same requests, and the least that could have done."""

from dataclasses import dataclass
from typing import Final

from tritonfleet.sim import Run

OURS: Final = "tritonfleet"


@dataclass(frozen=True)
class Entry:
    """One scaler and what became of it."""

    key: str
    """Its name on the command line."""
    title: str
    """What it is, with its settings."""
    run: Run


@dataclass(frozen=True)
class Outcome:
    """One trace against one manifest."""

    headline: str
    entries: tuple[Entry, ...]
    """Ours first."""
    oracle: Entry | None
    """What somebody who knew all requests beforehand would have done; None where nothing holds the SLO."""
    gpus_per_replica: int
    max_replicas: int
    assumptions: tuple[str, ...]
    """What the simulation took for granted, in sentences."""
    warnings: tuple[str, ...] = ()
    """What a person should know before believing the numbers."""
    took_seconds: float = 0.0
    """How long it took to simulate."""
    minute_seconds: float = 60.0

    @property
    def ours(self) -> Entry:
        """What Tritonfleet would have done."""
        return self.entries[0]

    def ratio(self, entry: Entry) -> float | None:
        """Return GPU-hours as a multiple of the clairvoyant's."""
        least = self.oracle.run.gpu_hours if self.oracle is not None else 0.0
        return entry.run.gpu_hours / least if least > 0 else None

    @property
    def compared(self) -> tuple[Entry, ...]:
        """Every entry, the clairvoyant first, then ours."""
        return (self.oracle, *self.entries) if self.oracle is not None else self.entries

    @property
    def latency_seconds(self) -> float:
        """The SLO's target."""
        return self.ours.run.latency_seconds

    @property
    def percentile(self) -> float:
        """The SLO's percentile, in percent."""
        return self.ours.run.percentile

    @property
    def duration_seconds(self) -> float:
        """How long the trace is."""
        return self.ours.run.duration_seconds

    @property
    def cost_unit(self) -> str:
        """What `gpu_hours` counts: replicas without a GPU cost replica-hours."""
        return "GPU-h" if self.gpus_per_replica else "replica-h"
