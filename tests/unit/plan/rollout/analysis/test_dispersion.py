"""What stable's own variation does to the test."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.canary import ErrorMargin
from tritonfleet.plan.rollout.analysis import Progress
from tritonfleet.plan.rollout.analysis.proportions import ShareEvidence, ShareRecord, WindowCells, compare
from tritonfleet.plan.rollout.analysis.stats import DispersionStats

CELLS = st.lists(st.integers(0, 300).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), max_size=8)


def binomial_cells(chance, cells=400, size=200, correlation=0.0, seed=7):
    draw = random.Random(seed)
    strength = 1 / correlation - 1 if correlation else 0
    shares = [
        draw.betavariate(chance * strength, (1 - chance) * strength) if correlation else chance for _ in range(cells)
    ]
    return [(sum(draw.random() < share for _ in range(size)), size) for share in shares]


def test_independent_failures_have_no_design_effect():
    assert DispersionStats().add(binomial_cells(0.05)).design_effect == pytest.approx(1, abs=0.1)


def test_clustered_failures_have_the_design_effect_of_their_correlation():
    spread = DispersionStats().add(binomial_cells(0.05, correlation=0.02))

    assert spread.design_effect == pytest.approx(1 + 199 * 0.02, rel=0.2)
    assert spread.correlation == pytest.approx(0.02, rel=0.25)


@given(CELLS, CELLS)
def test_sums_may_be_built_piece_by_piece(first, second):
    at_once, in_pieces = DispersionStats().add(first + second), DispersionStats().add(first).add(second)

    assert at_once.squares == pytest.approx(in_pieces.squares)
    assert (at_once.cells, at_once.events, at_once.trials) == (in_pieces.cells, in_pieces.events, in_pieces.trials)


@given(CELLS)
def test_a_design_effect_never_makes_data_stronger(cells):
    assert DispersionStats().add(cells).design_effect >= 1


def test_the_same_counts_prove_less_where_stable_is_restless():
    calm, restless = ShareEvidence(), ShareEvidence()
    for window in range(10):
        calm = calm.add([(3, 200)], [(1, 200)] * 9)
        restless = restless.add([(3, 200)], [(9 if pod == window % 9 else 0, 200) for pod in range(9)])

    assert calm.stable == restless.stable
    margin = ErrorMargin(ratio=1.5, difference=0.2)
    assert compare(calm, margin).p_ratio(1) < compare(restless, margin).p_ratio(1) / 10


def test_what_was_watched_before_the_canary_had_traffic_tempers_the_first_look():
    cells = [(9 if pod == 4 else 0, 200) for pod in range(9)]
    watched = ShareEvidence()
    for _ in range(10):
        watched = watched.add_stable(cells)
    first = [(8, 200)], [(1, 200)] * 9

    assert watched.canary.requests == watched.stable.requests == 0
    margin = ErrorMargin(ratio=1.5, difference=0.2)
    assert compare(watched.add(*first), margin).p_ratio(1) > 5 * compare(ShareEvidence().add(*first), margin).p_ratio(1)


def test_variation_of_whole_windows_counts_too():
    evidence = ShareEvidence()
    for window in range(10):
        evidence = evidence.add([(1, 200)], [(4 * (window % 2), 200)] * 9)

    canary, stable = evidence.design_effects()
    assert stable > 10
    assert 1 < canary < stable


@given(CELLS, CELLS)
def test_evidence_survives_the_status(canary, stable):
    progress = Progress(
        error_rate=ShareRecord(ShareEvidence().add_stable(stable)).add(WindowCells(tuple(canary), tuple(stable)))
    )

    assert Progress.restore(progress.document()) == progress
