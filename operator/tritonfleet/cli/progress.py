"""How far a long computation is: one line on stderr, rewritten, and only when a person is looking."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 30
REDRAWN_SECONDS = 0.2


class Progress:
    """The line."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = self._drawn = time.monotonic()
        self._shown = sys.stderr.isatty()

    def told(self, done: float) -> None:
        """Draw it anew for a share from 0 to 1, at most five times a second."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < REDRAWN_SECONDS:
            return
        self._drawn = now
        filled = round(WIDTH * min(1.0, done))
        left = (now - self._started) * (1 - done) / done if done > 0 else 0.0
        bar = "#" * filled + "." * (WIDTH - filled)
        sys.stderr.write(f"\r{self._label} [{bar}] {done:4.0%}, {left:.0f} s left \x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Show a line for as long as the block runs."""
    line = Progress(label)
    try:
        yield line
    finally:
        line.clear()
