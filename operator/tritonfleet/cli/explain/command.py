"""`tritonfleet explain`: reads the object and says what it says."""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from typing import NoReturn

from tritonfleet.cli.explain.account import Account, document
from tritonfleet.cli.explain.view import plain
from tritonfleet.cli.explain.watch import Course
from tritonfleet.cli.place import Place, carry_out, place_of
from tritonfleet.cli.screen import follow


def run(options: argparse.Namespace) -> int:
    """Print the account, or follow it; 1 when there is none to give, 2 when the cluster cannot be found."""
    return carry_out("explain", _explain(options))


async def _explain(options: argparse.Namespace) -> int:
    async with place_of(options) as place:
        if options.watch:
            await _watch(place, options)
        account = await _look(place, options.name)
    sys.stdout.write((json.dumps(document(account), indent=2) if options.output == "json" else plain(account)) + "\n")
    return 0


async def _watch(place: Place, options: argparse.Namespace) -> NoReturn:
    course = Course(options.interval)

    async def text() -> str:
        account = await _look(place, options.name)
        course.add(account)
        return "\n".join((plain(account), "", *course.lines(account, shutil.get_terminal_size().columns)))

    await follow(text, options.interval)


async def _look(place: Place, name: str) -> Account:
    return Account.of(await place.model_deployment(name), datetime.now(UTC))
