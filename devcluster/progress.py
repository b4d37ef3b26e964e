"""Progress output for steps that take longer than two seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

_TTY_PERIOD_SECONDS = 0.5
_LOG_PERIOD_SECONDS = 10.0
_QUIET_SECONDS = 2.0


class Step:
    """One piece of work under way; `note` is shown beside its clock."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.note = ""
        self.started = time.monotonic()

    def elapsed_seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started


class Progress:
    """Numbered steps with a running clock: a live line on a terminal, a line now and then in a log."""

    def __init__(self, total: int = 0, stream: TextIO = sys.stderr) -> None:
        self._total = total
        self._number = 0
        self._stream = stream
        self._began = time.monotonic()
        self._live = stream.isatty()

    def add(self, steps: int) -> None:
        """Announce that many more steps."""
        self._total += steps

    def say(self, text: str) -> None:
        """Print one line with the clock of the whole run."""
        clock = time.monotonic() - self._began
        self._stream.write(f"{chr(13) + chr(27) + '[K' if self._live else ''}[{clock:6.1f}s] {text}\n")
        self._stream.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` while the block runs; a failure is shown too, and goes on up."""
        self._number += 1
        self._total = max(self._total, self._number)
        step = Step(f"({self._number}/{self._total}) {title}")
        with _Ticker(self, step, live=self._live, stream=self._stream):
            try:
                yield step
            except BaseException as error:
                self.say(f"{step.title}: {type(error).__name__} after {step.elapsed_seconds():.1f}s")
                raise
        self.say(f"{step.title}: {step.elapsed_seconds():.1f}s")


class _Ticker:
    def __init__(self, progress: Progress, step: Step, *, live: bool, stream: TextIO) -> None:
        self._progress = progress
        self._step = step
        self._live = live
        self._stream = stream
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        pause = _QUIET_SECONDS
        while not self._over.wait(pause):
            pause = _TTY_PERIOD_SECONDS if self._live else _LOG_PERIOD_SECONDS
            note = f", {self._step.note}" if self._step.note else ""
            line = f"{self._step.title} ... {self._step.elapsed_seconds():.0f}s{note}"
            if self._live:
                self._stream.write(f"\r\x1b[K{line[:110]}")
                self._stream.flush()
            else:
                self._progress.say(line)
