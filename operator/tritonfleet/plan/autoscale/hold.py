"""How long a peak is remembered: a large fall is believed soon, a small one may be noise, a burst may come back."""

from dataclasses import dataclass
from typing import Any

HOUR_SECONDS = 3600.0
"""The recent high, for when nothing is seen; peaks are kept for so long, and longer where the hold is."""
RIPPLE = 0.1
"""A fall of one replica, or of a tenth, is a ripple."""
RIPPLE_HOLDS = 4.0
"""Ripples wait for so many holds: six minutes, the tempo of a day's slope rather than of noise."""
RECURRENCE, BURSTS = 0.2, 5
"""g, and the bursts that count: five of them double the hold. Research has 0.5, where rises were not learned apart."""
ONE_BURST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Peaks of what was wanted, by the law's clock."""

    peaks: tuple[tuple[float, int], ...] = ()
    """(clock, replicas wanted), each lower than the ones before: the newest may yet become the highest."""
    bursts: tuple[float, ...] = ()
    """When the bursts of the last hour were last seen, one entry each, the newest few."""

    def seconds(self, shortest: float, clock: float) -> float:
        """Return W = W0 (1 + g bursts): traffic that burst lately will burst again (research 5.2)."""
        return shortest * (1 + RECURRENCE * sum(clock - at <= HOUR_SECONDS for at in self.bursts))

    def document(self, clock: float) -> dict[str, Any]:
        """Return it for the status, as ages in seconds."""
        return {
            "peaks": [[round(clock - at), wanted] for at, wanted in self.peaks[:30]],
            "bursts": [round(clock - at) for at in self.bursts],
        }

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Hold":
        """Read it back; ValueError, TypeError or LookupError if it is none."""
        peaks = tuple((clock - float(age), int(wanted)) for age, wanted in document["peaks"])
        return cls(peaks, tuple(clock - float(age) for age in document["bursts"][-BURSTS:]))


def remember(hold: Hold, hold_seconds: float, wanted: int, clock: float, *, burst: bool) -> Hold:
    """Return the hold after one more decision."""
    since = clock - max(HOUR_SECONDS, RIPPLE_HOLDS * hold_seconds)
    bursts = hold.bursts
    if burst:
        # Signs of a burst that are close together are one burst's.
        lasting = bool(bursts) and clock - bursts[-1] < ONE_BURST_SECONDS
        bursts = (*(bursts[:-1] if lasting else bursts), clock)[-BURSTS:]
    peaks = tuple(peak for peak in hold.peaks if peak[1] > wanted and peak[0] > since)
    return Hold((*peaks, (clock, wanted)), bursts)


def highest(hold: Hold, since: float) -> int:
    """Return the highest number that was wanted since a moment of the law's clock."""
    return next((wanted for at, wanted in hold.peaks if at >= since), 0)


def held_seconds(hold: Hold, hold_seconds: float, clock: float, replicas: int) -> float:
    """Return for how long a peak keeps these replicas up: W, and several times W0 for a mere ripple below them."""
    long = hold.seconds(hold_seconds, clock)
    ripple = replicas - highest(hold, clock - long) <= max(1, int(RIPPLE * replicas))
    return max(long, RIPPLE_HOLDS * hold_seconds) if ripple else long
