"""A screen of its own that shows a changing text, and numbers as lines of blocks."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

from tritonfleet.errors import Transient

BLOCKS: Final = "▁▂▃▄▅▆▇█"
OWN_SCREEN, OLD_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
FROM_THE_TOP, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


async def follow(look: Callable[[], Awaitable[str]], interval_seconds: float) -> NoReturn:
    """Draw anew at every interval until interrupted; an API server that is away is said, and waited for."""
    screen = sys.stdout.isatty()
    sys.stdout.write(OWN_SCREEN if screen else "")
    try:
        while True:
            try:
                text = await look()
            except Transient as problem:
                text = f"the API server does not answer, trying again: {problem}"
            sys.stdout.write(_drawn(text) if screen else f"{text}\n\n")
            sys.stdout.flush()
            await asyncio.sleep(interval_seconds)
    finally:
        sys.stdout.write(OLD_SCREEN if screen else "")
        sys.stdout.flush()


def sparkline(values: Sequence[float | None], *, highest: float | None = None) -> str:
    """Return one block for each value, its height in proportion to the highest; a space where nothing is known."""
    top = highest if highest is not None else max((value for value in values if value is not None), default=0.0)
    last = len(BLOCKS) - 1
    heights = (None if value is None else round(last * value / top) if top > 0 else 0 for value in values)
    return "".join(" " if height is None else BLOCKS[height] for height in heights)


def _drawn(text: str) -> str:
    """Return what draws a text from the top of the screen, cut to its size, without flicker."""
    size = shutil.get_terminal_size()
    lines = [line[: size.columns] for line in text.splitlines()[: size.lines - 1]]
    return FROM_THE_TOP + "".join(f"{line}{REST_OF_LINE}\r\n" for line in lines) + REST_OF_SCREEN
