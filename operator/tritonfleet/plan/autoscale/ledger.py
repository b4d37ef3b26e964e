"""The error budget's books: requests and misses of the last six hours."""

from dataclasses import dataclass
from typing import Any, NamedTuple

BUCKET_SECONDS = 300.0
HOUR_BUCKETS, BUCKETS = 12, 72
"""The last hour and the last six, as error budgets are usually watched (SRE workbook: burn rates over 1 h and 6 h)."""


class Bucket(NamedTuple):
    """Five minutes."""

    number: int
    requests: float
    misses: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """Requests and misses by five minutes of the law's clock, oldest first."""

    buckets: tuple[Bucket, ...] = ()

    def misses(self, clock: float, buckets: int) -> tuple[float, float]:
        """Return requests and misses of the last so many buckets."""
        since = int(clock // BUCKET_SECONDS) - buckets
        lately = [bucket for bucket in self.buckets if bucket.number > since]
        return sum(bucket.requests for bucket in lately), sum(bucket.misses for bucket in lately)

    def burn(self, clock: float, buckets: int, budget: float) -> float | None:
        """Return the share of requests that missed, over the share that may; None without requests."""
        requests, misses = self.misses(clock, buckets)
        return misses / requests / budget if requests > 0 else None

    def document(self, clock: float) -> list[list[float]]:
        """Return it for the status: age in buckets, requests, misses."""
        now = int(clock // BUCKET_SECONDS)
        return [[now - bucket.number, round(bucket.requests), round(bucket.misses, 1)] for bucket in self.buckets]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Ledger":
        """Read it back; ValueError or TypeError if it is none."""
        now = int(clock // BUCKET_SECONDS)
        return cls(tuple(Bucket(now - int(age), float(requests), float(misses)) for age, requests, misses in document))


def enter(ledger: Ledger, requests: float, misses: float, clock: float) -> Ledger:
    """Return the ledger with one more tick in it."""
    index = int(clock // BUCKET_SECONDS)
    buckets = ledger.buckets
    if buckets and buckets[-1].number == index:
        last = buckets[-1]
        newest = Bucket(index, last.requests + requests, last.misses + misses)
        return Ledger((*buckets[:-1], newest))
    kept = tuple(bucket for bucket in buckets if bucket.number > index - BUCKETS)
    return Ledger((*kept, Bucket(index, requests, misses)))
