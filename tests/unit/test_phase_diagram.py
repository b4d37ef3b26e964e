"""The page about rollouts draws the machine that is in the code, all of it and nothing else."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

from tritonfleet.plan.rollout import TRAITS, TRANSITIONS, Phase, RolloutReason

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "rollouts.md").read_text()
ARROW = re.compile(r"^    (\w+) --> (\w+) : (.+)$", re.MULTILINE)
GROUP = re.compile(r'^    state "any of<br/>(.+)" as (\w+)$', re.MULTILINE)


def drawn() -> set[tuple[str, str, str]]:
    """Return every arrow of the pictures, those of a group one by one."""
    groups = {name: listed.replace("<br/>", " ").split(", ") for listed, name in GROUP.findall(PAGE)}
    return {
        (source.strip(), target.strip(), when)
        for sources, targets, when in ARROW.findall(PAGE)
        for source, target in itertools.product(groups.get(sources, [sources]), groups.get(targets, [targets]))
    }


def test_the_pictures_show_every_transition_and_no_other() -> None:
    coded = {
        (edge.source.value, edge.target.value, when.replace(":", ","))
        for edge in TRANSITIONS
        for when in edge.when.split("; or ")
    }

    assert drawn() == coded


def test_every_phase_is_explained_once() -> None:
    explained = re.findall(r"^\| `(\w+)` \| .{20,} \|$", PAGE.split("phases:end")[0], re.MULTILINE)

    assert explained == [phase.value for phase in Phase]


def test_no_transition_is_in_the_table_twice() -> None:
    assert len(TRANSITIONS) == len(set(TRANSITIONS))


def test_every_phase_can_be_reached_and_none_is_a_trap() -> None:
    reached = {Phase.INITIALIZING, *(edge.target for edge in TRANSITIONS)}
    left = {edge.source for edge in TRANSITIONS}

    assert reached == left == set(Phase)


def test_a_rollout_can_always_be_rolled_back_until_it_is_promoted() -> None:
    back = {edge.source for edge in TRANSITIONS if edge.target is Phase.ROLLING_BACK}

    assert back >= {phase for phase in Phase if TRAITS[phase].before_promotion}


def test_the_drawing_on_the_page_is_made_from_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "docs/tools/phases.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def test_every_reason_for_a_hold_on_the_page_is_one_of_the_code() -> None:
    reasons = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Held rollouts")[1], re.MULTILINE)

    assert len(reasons) > 10
    assert set(reasons) <= set(RolloutReason)
