"""How often, and how long apart, a failed read is tried again."""

import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed, Stopped

ATTEMPTS: Final = 7
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0
"""With full jitter, seven attempts in a row wait 15 s on average and 31 s at most."""


class Patience:
    """Counts the failures in a row of one read, and waits between them; one per read, not shared."""

    def __init__(self, stopping: threading.Event, report: Callable[[str], None]) -> None:
        self._stopping = stopping
        self._report = report
        self._failures = 0

    def renew(self) -> None:
        """Forget the failures: the source has delivered a good piece since."""
        self._failures = 0

    def wait(self, error: Transient) -> None:
        """Sleep with full jitter; FetchFailed after the last attempt, Stopped when the fetch has ended."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise FetchFailed(f"{error}; gave up after {ATTEMPTS} attempts in a row") from error
        ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1))
        pause = max(random.uniform(0, ceiling), error.retry_after_seconds or 0)  # noqa: S311 - jitter, no secret
        self._report(f"{error}; attempt {self._failures + 1} of {ATTEMPTS} in {pause:.1f} s")
        if self._stopping.wait(pause):
            raise Stopped


T = TypeVar("T")


def patiently(action: Callable[[], T], patience: Patience) -> T:
    """Return what `action` returns, calling it again while it raises Transient and patience lasts."""
    while True:
        try:
            return action()
        except Transient as error:
            patience.wait(error)
