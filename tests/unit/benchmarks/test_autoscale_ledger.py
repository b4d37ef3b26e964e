from dataclasses import replace

import pytest

from benchmarks.autoscale.ledger import Ledger
from benchmarks.autoscale.runs import CLAIRVOYANT, Score
from benchmarks.autoscale.scenes import FAULTS, Scene
from benchmarks.autoscale.summary import bars, tables


def score(contender, gpu_hours, miss, *, scene="t", seed=0, events=10, over=0, downs=0):
    return Score(
        scene, contender.partition("@")[0], contender, seed, gpu_hours, miss, events, 0, over, over, downs, 1.0
    )


def test_seeds_are_averaged_but_the_worst_blind_scale_down_stays():
    scores = [score("ours", 10.0, 0.01, downs=0), score("ours", 20.0, 0.03, seed=1, events=30, downs=2)]
    mean = Ledger(scores).ours("t")
    assert (mean.gpu_hours, mean.miss, mean.events, mean.downs_in_blackout) == (15.0, pytest.approx(0.02), 20.0, 2)


def test_ours_is_set_against_the_common_front_of_the_families_named():
    scores = [
        score("ours", 80.0, 0.01),
        score("keda@1", 90.0, 0.02),
        score("keda@2", 120.0, 0.005),
        score("hpa-arrivals@1", 100.0, 0.01),
        score("kpa@1", 1.0, 0.0),
    ]
    assert Ledger(scores).against("t", ("keda", "hpa-arrivals")).gpu_ratio == pytest.approx(0.8)
    assert Ledger(scores).against("t", ("keda",)).gpu_ratio == pytest.approx(80 / 105)


def test_events_are_set_against_the_calmer_neighbor():
    scores = [
        score("ours", 80.0, 0.01, events=50),
        score("kpa@1", 90.0, 0.02, events=500),
        score("kpa@2", 120.0, 0.005, events=400),
        score("kpa@3", 150.0, 0.001, events=100),
    ]
    assert Ledger(scores).against("t", ("kpa",)).events_ratio == pytest.approx(50 / 400)


def test_the_clairvoyant_is_the_measure():
    assert Ledger([score("ours", 90.0, 0.01), score(CLAIRVOYANT, 60.0, 0.01)]).over_clairvoyant("t") == 1.5


def whole_bench(ours_hours, *, downs=0, restarted=1.0):
    """Return scenes and scores of a bench where every trace goes alike and KEDA and the rest cost 100 GPU-hours."""
    scenes = [Scene(name, "slow", name) for name in ("daily", "bursty")]
    scenes += [Scene(f"daily+{fault}", "slow", "daily", fault=fault) for fault in FAULTS]
    scores = [
        each
        for scene in scenes
        for each in (
            score(CLAIRVOYANT, 70.0, 0.01, scene=scene.name),
            score("ours", ours_hours, 0.004, scene=scene.name, events=20, downs=downs),
            score("ours-restarted", ours_hours * restarted, 0.004, scene=scene.name),
            score("ours-killed", ours_hours * restarted, 0.004, scene=scene.name),
            *(
                score(f"{family}@{miss:g}", 100.0, miss, scene=scene.name, events=100)
                for family in ("hpa-arrivals", "keda", "kpa", "dynamo")
                for miss in (0.004, 0.04)
            ),
        )
    ]
    return scenes, scores


def failed(scenes, scores):
    return [bar.name for bar in bars(scenes, scores) if not bar.holds]


def test_a_bench_that_keeps_every_promise_says_so():
    assert failed(*whole_bench(74.0)) == []


def test_what_is_too_dear_fails_by_name():
    names = failed(*whole_bench(110.0))
    assert len(names) == 5
    assert any("best-swept HPA or KEDA" in name and "worst trace" in name for name in names)


def test_what_a_part_is_worth_is_shown_beside_ours():
    scenes, scores = whole_bench(74.0)
    scores.append(score("ours-without-pooling", 111.0, 0.002, scene="daily"))
    found = {table.title: table.rows for table in tables(scenes, scores)}
    parts = next(rows for title, rows in found.items() if title.startswith("What each part"))
    assert parts[0] == {"trace": "daily", "no pooling": "1.50, +0.20"}


def test_replicas_that_follow_noise_fail():
    scenes, scores = whole_bench(74.0)
    scenes.append(Scene("flat", "slow", "flat", hours=2.0))
    flat = [replace(each, scene="flat", flips=9) for each in scores if each.scene == "bursty"]
    assert failed(scenes, scores + flat) == ["flat: changes of direction an hour"]


def test_one_blind_scale_down_fails():
    assert failed(*whole_bench(74.0, downs=1)) == ["20 min without metrics at peak: scale-downs"]


def test_a_restart_that_changes_the_bill_fails():
    assert failed(*whole_bench(74.0, restarted=1.03)) == [
        f"operator {ended} every 5 min: most that any trace's GPU-hours differ" for ended in ("restarted", "killed")
    ]


def test_the_report_has_every_trace_every_fault_and_the_mean():
    found = {table.title: table.rows for table in tables(*whole_bench(74.0))}
    duels = next(rows for title, rows in found.items() if title.startswith("Equal attainment"))
    assert [row["trace"] for row in duels] == ["daily", "bursty", "geometric mean"]
    assert duels[-1]["KEDA"] == pytest.approx(0.74)
    assert {row["trace"] for row in found["Faults: ours and the usual settings"]} == {
        f"daily+{each}" for each in FAULTS
    }
