"""How long a peak is remembered: traffic that burst lately will burst again."""

from dataclasses import dataclass
from typing import Any

BURSTINESS = 0.5
BURSTS_MAX = 5
"""W = W0 (1 + g min(5, bursts in the last hour)) (research 5.2)."""
HOUR_SECONDS = 3600.0
ONE_BURST_SECONDS = 60.0
"""Onsets closer together are one burst."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Peaks of what was wanted, by the law's clock."""

    peaks: tuple[tuple[float, int], ...] = ()
    """(clock, replicas wanted), each lower than the ones before: the newest may yet become the highest."""
    bursts: tuple[float, ...] = ()
    """When bursts began, within the last hour."""

    def seconds(self, shortest: float, clock: float) -> float:
        """Return W."""
        lately = sum(clock - began <= HOUR_SECONDS for began in self.bursts)
        return shortest * (1 + BURSTINESS * min(BURSTS_MAX, lately))

    def document(self, clock: float) -> dict[str, Any]:
        """Return it for the status, as ages in seconds."""
        return {
            "peaks": [[round(clock - at), wanted] for at, wanted in self.peaks[:20]],
            "bursts": [round(clock - at) for at in self.bursts[-BURSTS_MAX:]],
        }

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Hold":
        """Read it back; ValueError, TypeError or KeyError if it is none."""
        peaks = tuple((clock - float(age), int(wanted)) for age, wanted in document["peaks"])
        return cls(peaks, tuple(clock - float(age) for age in document["bursts"]))


def remember(hold: Hold, wanted: int, clock: float, *, burst: bool) -> Hold:
    """Return the hold after one more decision."""
    peaks = tuple(peak for peak in hold.peaks if peak[1] > wanted and clock - peak[0] < HOUR_SECONDS)
    bursts = hold.bursts
    if burst and not (bursts and clock - bursts[-1] < ONE_BURST_SECONDS):
        bursts = (*(began for began in bursts if clock - began <= HOUR_SECONDS), clock)[-2 * BURSTS_MAX :]
    return Hold((*peaks, (clock, wanted)), bursts)


def highest(hold: Hold, since: float) -> int:
    """Return the highest number that was wanted since a moment of the law's clock."""
    return next((wanted for at, wanted in hold.peaks if at >= since), 0)
