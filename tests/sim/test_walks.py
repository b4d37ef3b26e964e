"""A person who follows one decision through the source passes through few files, and seldom goes back and forth.

`tests.walks` says how files and moves are counted. The ceilings are what has been reached: lower them with the code.
"""

from dataclasses import dataclass, field
from datetime import datetime

import pytest

from tests.sim.rollout import acting
from tests.sim.rollout.scene import Scene, spec_of
from tests.walks import Walk, walk
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan import reconcile as reconcile_module
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.rollout import Phase, RolloutInputs, State, StepResult, advance
from tritonfleet.plan.world import Observed, Plan

RECONCILE_FILES, RECONCILE_MOVES = 40, 250
ADVANCE_FILES, ADVANCE_MOVES = 12, 90


@dataclass
class Decisions:
    """What was decided from in a rollout whose only step pauses for an approval, up to that pause."""

    passes: list[tuple[Observed, datetime]] = field(default_factory=list)
    advances: list[tuple[State, RolloutInputs, datetime]] = field(default_factory=list)

    def reconcile(self, observed: Observed, now: datetime) -> Plan:
        self.passes.append((observed, now))
        return reconcile(observed, now)

    def advance(self, state: State, inputs: RolloutInputs, now: datetime) -> StepResult:
        self.advances.append((state, inputs, now))
        return advance(state, inputs, now)


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    found = Decisions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting, "reconcile", found.reconcile)
        patch.setattr(reconcile_module, "advance", found.advance)
        Scene(spec_of(steps=({"weight": 25, "pause": {}},))).serve().roll("2").run_to(Phase.AWAITING_APPROVAL)
    return found


def test_a_walk_counts_functions_of_the_package_alone_and_each_change_of_file() -> None:
    one = Walk(("a.py:f", "b.py:g", "a.py:h", "a.py:f", "c.py:k"))

    assert (one.files, one.moves) == ({"a.py", "b.py", "c.py"}, 3)
    assert walk(spec_of).calls == ()
    assert walk(duration_seconds, "1m").calls[0] == "api/quantities.py:duration_seconds"


def test_a_pass_in_which_a_step_passes_and_pauses_leads_through_few_files(decisions: Decisions) -> None:
    """From the observed cluster to everything that is written: the objects of both revisions, and the status."""
    pausing = [each for each in decisions.passes if phases(*each) == (Phase.ANALYZING, Phase.AWAITING_APPROVAL)]

    assert len(pausing) == 1
    assert_short(walk(reconcile, *pausing[0]), RECONCILE_FILES, RECONCILE_MOVES)


def test_the_verdict_on_a_window_leads_through_few_files(decisions: Decisions) -> None:
    """From the state and the counters of a window to the next state: the step goes on, or it passes and pauses."""
    verdicts = {}
    for each in decisions.advances:
        after = advance(*each).state
        if each[0].phase is Phase.ANALYZING and after is not each[0]:
            verdicts[after.phase] = walk(advance, *each)

    assert verdicts.keys() == {Phase.ANALYZING, Phase.AWAITING_APPROVAL}
    for one in verdicts.values():
        assert_short(one, ADVANCE_FILES, ADVANCE_MOVES)


def phases(observed: Observed, now: datetime) -> tuple[str | None, ...]:
    """Return the rollout's phase before a pass and after it."""
    return tuple(
        ((status or {}).get("rollout") or {}).get("phase")
        for status in (observed.body.get("status"), reconcile(observed, now).status)
    )


def assert_short(one: Walk, files: int, moves: int) -> None:
    assert len(one.files) <= files, f"{one}: {sorted(one.files)}"
    assert one.moves <= moves, one
