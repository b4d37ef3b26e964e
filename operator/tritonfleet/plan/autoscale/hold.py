"""How long a peak is remembered: a large fall is believed soon, a small one may be noise."""

from dataclasses import dataclass
from typing import Any

HOUR_SECONDS = 3600.0
"""The recent high, for when nothing is seen; peaks are kept for so long, and longer where the hold is."""
RIPPLE = 0.1
"""A fall of one replica, or of a tenth, is a ripple."""
RIPPLE_HOLDS = 4.0
"""Ripples wait for so many holds: six minutes, the tempo of a day's slope rather than of noise."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Peaks of what was wanted, by the law's clock."""

    peaks: tuple[tuple[float, int], ...] = ()
    """(clock, replicas wanted), each lower than the ones before: the newest may yet become the highest."""

    def document(self, clock: float) -> list[list[int]]:
        """Return it for the status, as ages in seconds."""
        return [[round(clock - at), wanted] for at, wanted in self.peaks[:30]]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Hold":
        """Read it back; ValueError or TypeError if it is none."""
        return cls(tuple((clock - float(age), int(wanted)) for age, wanted in document))


def remember(hold: Hold, hold_seconds: float, wanted: int, clock: float) -> Hold:
    """Return the hold after one more decision."""
    since = clock - max(HOUR_SECONDS, RIPPLE_HOLDS * hold_seconds)
    peaks = tuple(peak for peak in hold.peaks if peak[1] > wanted and peak[0] > since)
    return Hold((*peaks, (clock, wanted)))


def highest(hold: Hold, since: float) -> int:
    """Return the highest number that was wanted since a moment of the law's clock."""
    return next((wanted for at, wanted in hold.peaks if at >= since), 0)


def remembered_peak(hold: Hold, hold_seconds: float, clock: float, replicas: int) -> int:
    """Return what the hold keeps up: the highest of the last W0 seconds, of several times that for a mere ripple."""
    peak = highest(hold, clock - hold_seconds)
    if replicas - peak <= max(1, int(RIPPLE * replicas)):
        return highest(hold, clock - RIPPLE_HOLDS * hold_seconds)
    return peak
