"""Lines about the transfer, at most one every two seconds, also while nothing moves."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

INTERVAL_SECONDS: Final = 2.0
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class Progress:
    """Counts bytes and files of one stage; safe to feed from several threads."""

    def __init__(
        self, total_bytes: int, total_files: int, report: Callable[[str], None], *, verb: str = "fetched",
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:  # fmt: skip
        self._total, self._files, self._report, self._verb = total_bytes, total_files, report, verb
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._done = self._kept = self._done_files = 0
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def keep(self, count: int) -> None:
        """Count bytes that an earlier attempt left on disk; they are no part of the rate."""
        with self._lock:
            self._kept += count

    def add(self, count: int) -> None:
        """Count bytes that have just arrived; negative when they have to come again."""
        with self._lock:
            self._done += count

    def finish_file(self) -> None:
        """Count one complete file."""
        with self._lock:
            self._done_files += 1

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._report(self._line(self._done / max(time.monotonic() - self._started_at, 1e-3)))

    def _tick(self) -> None:
        before, at = 0, time.monotonic()
        while not self._ended.wait(self._interval_seconds):
            now, done = time.monotonic(), self._done
            self._report(self._line(max(0.0, (done - before) / (now - at))))
            before, at = done, now

    def _line(self, bytes_per_second: float) -> str:
        present = self._done + self._kept
        unit = max(0, min((max(self._total, 1).bit_length() - 1) // 10, len(_UNITS) - 1))
        percent = 100 * present // self._total if self._total else 100
        kept = f", {size_text(self._kept)} kept from before" if self._kept else ""
        return (
            f"{self._verb} {_number(present / 1024**unit)} of {size_text(self._total)} ({percent} %), "
            f"{size_text(round(bytes_per_second))}/s, {self._done_files} of {self._files} files{kept}"
        )


def size_text(count: float) -> str:
    """Return bytes in the largest binary unit that keeps at least one digit before the point."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{_number(count)} {_UNITS[unit]}"


def _number(count: float) -> str:
    """Return three digits at most, or all that stand before the point."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"
