"""Terminal input and output of the subcommands: text, one-line errors, files, tables, progress, a screen.

All output goes through `say()`, which lets no control character pass: texts of a model, a pod or a status come from
others. `UsageError` is wrong input; `report_error()` prints it and returns its exit status. `follow()` redraws a text
until interrupted, `progress()` shows a progress bar, and `sparkline()` and `rows()` draw numbers and tables.
"""

import asyncio
import importlib.util
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from tritonfleet.errors import Transient, TritonfleetError, printable

WIDTH = 30
REDRAWN_SECONDS = 0.2

BLOCKS: Final = "▁▂▃▄▅▆▇█"
OWN_SCREEN, OLD_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
FROM_THE_TOP, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class UsageError(TritonfleetError):
    """Wrong input: one line that says what is wrong, where, and what is expected."""


def say(text: str, *, error: bool = False) -> None:
    """Write a line, or several, to stdout or to stderr."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{printable(text)}\n")
    stream.flush()


def report_error(command: str, problem: Exception) -> int:
    """Print a one-line error to stderr and return exit status 2."""
    say(f"tritonfleet {command}: {one_line(str(problem))}", error=True)
    return 2


def require_extra(extra: str, modules: Sequence[str]) -> None:
    """Raise UsageError saying what to install if a module of an optional dependency is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"needs {', '.join(missing)}: pip install 'tritonfleet[{extra}]'")


def one_line(text: str) -> str:
    """Return `text` without line breaks, so that no part of it can look like a line of ours."""
    return " ".join(text.split())


def read_bytes(path: str) -> bytes:
    """Return the content of a file, or of stdin for `-`; raises UsageError saying why it cannot be read."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def write_bytes(path: str, content: bytes) -> None:
    """Write a file; raises UsageError saying why it cannot be written."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def rows(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a line; all rows have as many cells, and the last is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


class Progress:
    """A progress bar on stderr; nothing if that is not a terminal."""

    def __init__(self, label: str) -> None:
        self._label = printable(one_line(label))
        self._started = self._drawn = time.monotonic()
        self._shown = sys.stderr.isatty()

    def update(self, done: float) -> None:
        """Redraw it for a share from 0 to 1, at most five times a second."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < REDRAWN_SECONDS:
            return
        self._drawn = now
        filled = round(WIDTH * min(1.0, done))
        left = (now - self._started) * (1 - done) / done if done > 0 else 0.0
        bar = "#" * filled + "." * (WIDTH - filled)
        sys.stderr.write(f"\r{self._label} [{bar}] {done:4.0%}, {left:.0f}s left \x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Erase it."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Show a progress bar while the block runs."""
    line = Progress(label)
    try:
        yield line
    finally:
        line.clear()


async def follow(read: Callable[[], Awaitable[str]], interval_seconds: float) -> NoReturn:
    """Redraw at every interval until interrupted; keep trying if the API server is unavailable."""
    screen = sys.stdout.isatty()
    sys.stdout.write(OWN_SCREEN if screen else "")
    try:
        while True:
            try:
                text = await read()
            except Transient as problem:
                text = f"the API server is not responding, retrying: {problem}"
            if screen:
                sys.stdout.write(_drawn(printable(text)))
                sys.stdout.flush()
            else:
                say(f"{text}\n")
            await asyncio.sleep(interval_seconds)
    finally:
        sys.stdout.write(OLD_SCREEN if screen else "")
        sys.stdout.flush()


def sparkline(values: Sequence[float | None], *, highest: float | None = None) -> str:
    """Return one block per value, scaled to the highest; a space for None."""
    top = highest if highest is not None else max((value for value in values if value is not None), default=0.0)
    last = len(BLOCKS) - 1
    heights = (None if value is None else round(last * value / top) if top > 0 else 0 for value in values)
    return "".join(" " if height is None else BLOCKS[height] for height in heights)


def _drawn(text: str) -> str:
    """Return the terminal codes that redraw a text without flicker, cut to the screen."""
    size = shutil.get_terminal_size()
    lines = [line[: size.columns] for line in text.splitlines()[: size.lines - 1]]
    return FROM_THE_TOP + "".join(f"{line}{REST_OF_LINE}\r\n" for line in lines) + REST_OF_SCREEN
