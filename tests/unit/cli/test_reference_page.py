"""docs/reference/cli.md knows every action and every option that the command line takes."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tritonfleet.cli import options
from tritonfleet.plan.rollout import Verb

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


def words(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield f"{parser.prog} {name} NAME"
                yield from words(child)
        else:
            yield from (option for option in action.option_strings if option not in ("-h", "--help"))


@pytest.mark.parametrize(
    ("name", "configure"),
    [
        ("explain", options.explain_options),
        ("rollout", options.rollout_options),
        ("simulate", options.simulate_options),
    ],
)
def test_every_action_and_every_option_is_on_the_page(name: str, configure: Callable) -> None:
    parser = argparse.ArgumentParser(prog=name)
    configure(parser)
    section = PAGE.split(f"## {name}\n")[1].split("\n## ")[0]

    found = list(words(parser))
    # What `rollout` has in common with `explain` is explained there.
    known = section if name != "rollout" else section + PAGE.split("## explain\n")[1]

    assert len(found) > 5
    assert [word for word in found if f"`{word}" not in known] == []


def test_every_annotation_is_on_the_page() -> None:
    section = PAGE.split("### The annotations\n")[1].split("\n## ")[0]

    assert [verb for verb in Verb if f"`tritonfleet.dev/{verb}`" not in section and f"`{verb}`" not in section] == []
