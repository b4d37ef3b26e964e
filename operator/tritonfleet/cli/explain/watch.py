"""`--watch`: the account on a screen of its own, with the last minutes drawn as lines of blocks."""

import asyncio
import shutil
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.explain.account import Account
from tritonfleet.cli.explain.view import plain
from tritonfleet.errors import Transient

BLOCKS: Final = "▁▂▃▄▅▆▇█"
KEPT: Final = 600
"""Looks that are remembered: twenty minutes of them."""
OWN_SCREEN, OLD_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
FROM_THE_TOP, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 18


@dataclass
class Course:
    """What was seen, look by look."""

    interval_seconds: float
    rates: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    latencies: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Milliseconds."""
    replicas: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, account: Account) -> None:
        """Remember one look."""
        self.rates.append(account.scaling.observed_rate)
        self.latencies.append(_milliseconds(account.latency))
        self.replicas.append(float(account.running))

    def lines(self, account: Account, width: int) -> Iterator[str]:
        """Yield a line for the load, the latency and the replicas, each as wide as there is room."""
        room = max(10, width - _LABEL_WIDTH - _VALUE_WIDTH)
        shown = min(room, len(self.rates))
        yield f"the last {spoken(max(1.0, shown * self.interval_seconds))}"
        rate = account.scaling.observed_rate
        yield _line("load", self.rates, room, f"{per_second(rate)} requests/s" if rate is not None else "unknown")
        yield _line("latency", self.latencies, room, account.latency or "unknown")
        yield _line("replicas", self.replicas, room, str(account.running))


def _line(label: str, values: deque[float | None], room: int, value: str) -> str:
    return f"  {label:<{_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:])} {value}"


def sparkline(values: list[float | None]) -> str:
    """Return one block for each value, the height in proportion to the highest; a space where nothing is known."""
    highest = max((value for value in values if value is not None), default=0.0)
    if highest <= 0:
        return "".join(" " if value is None else BLOCKS[0] for value in values)
    top = len(BLOCKS) - 1
    return "".join(" " if value is None else BLOCKS[round(top * value / highest)] for value in values)


def _milliseconds(latency: str | None) -> float | None:
    return float(latency.removesuffix("ms")) if latency is not None else None


async def follow(look: Callable[[], Awaitable[Account]], interval_seconds: float) -> None:
    """Draw anew at every interval until interrupted; an API server that is away is said, and waited for."""
    course = Course(interval_seconds)
    screen = sys.stdout.isatty()
    sys.stdout.write(OWN_SCREEN if screen else "")
    try:
        while True:
            try:
                account = await look()
                course.add(account)
                text = "\n".join((plain(account), "", *course.lines(account, shutil.get_terminal_size().columns)))
            except Transient as problem:
                text = f"the API server does not answer, trying again: {problem}"
            sys.stdout.write(_drawn(text) if screen else f"{text}\n\n")
            sys.stdout.flush()
            await asyncio.sleep(interval_seconds)
    finally:
        sys.stdout.write(OLD_SCREEN if screen else "")
        sys.stdout.flush()


def _drawn(text: str) -> str:
    """Return what draws a text from the top of the screen, cut to its size, without flicker."""
    size = shutil.get_terminal_size()
    lines = [line[: size.columns] for line in text.splitlines()[: size.lines - 1]]
    return FROM_THE_TOP + "".join(f"{line}{REST_OF_LINE}\r\n" for line in lines) + REST_OF_SCREEN
