"""docs/reference/cli.md knows every subcommand and every option that the command line takes."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tritonfleet.cli.main import tritonfleet
from tritonfleet.plan.rollout import Verb

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


def words(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield f"{path} {name}"
            yield from words(child, f"{path} {name}")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from parameter.opts


@pytest.mark.parametrize("name", sorted(set(tritonfleet.commands) - {"operator", "fetch"}))
def test_every_action_and_every_option_is_on_the_page(name: str) -> None:
    section = PAGE.split(f"## {name}\n")[1].split("\n## ")[0]

    found = list(words(tritonfleet.commands[name], name))
    # What `rollout` has in common with `explain` is explained there.
    known = section if name != "rollout" else section + PAGE.split("## explain\n")[1]

    assert found != [] or name == "diff"
    assert [word for word in found if f"`{word}" not in known] == []


def test_every_annotation_is_on_the_page() -> None:
    section = PAGE.split("### The annotations\n")[1].split("\n## ")[0]

    assert [verb for verb in Verb if f"`tritonfleet.dev/{verb}`" not in section and f"`{verb}`" not in section] == []
