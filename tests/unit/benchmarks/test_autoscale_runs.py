"""Real, short runs of the bench."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.autoscale import cache as caching
from benchmarks.autoscale.cache import Cache
from benchmarks.autoscale.contenders import FAMILIES, contenders
from benchmarks.autoscale.recorded import read, recordings
from benchmarks.autoscale.runs import CLAIRVOYANT, Job, jobs, score
from benchmarks.autoscale.scenes import FAULTS, Scene, scenes
from benchmarks.autoscale.settings import SETTINGS

SHORT = Scene("short", "slow", "steps", hours=0.1)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_contender_plays(family):
    played = score(Job(SHORT, 0, family.name, family.usual))
    assert played.contender.startswith(family.name)
    assert 0 < played.gpu_hours < 4.8
    assert 0 <= played.miss < 0.5


def test_every_family_has_its_usual_target_among_those_it_tries():
    assert all(family.usual in family.knobs for family in FAMILIES)


def test_the_clairvoyant_is_cheaper_than_what_must_not_miss():
    best, careful = score(Job(SHORT, 0)), score(Job(SHORT, 0, "keda", 0.5))
    assert best.family == CLAIRVOYANT
    assert best.gpu_hours < careful.gpu_hours


def test_the_same_job_gives_the_same_score():
    first, again = (score(Job(SHORT, 1, "kpa", 5.0)) for _ in range(2))
    assert replace(first, seconds=0) == replace(again, seconds=0)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_finds_its_place_in_the_trace(fault):
    scene = Scene("faulty", "slow", "daily", fault=fault, hours=2.0)
    trace = scene.trace(0)
    placed = scene.faults(trace)
    assert placed
    assert all(0 < getattr(each, "at_seconds", getattr(each, "start_seconds", 0)) < 7200 for each in placed)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_wants_five_to_fifteen_replicas(setting):
    assert 5 <= setting.mean_rate / setting.capacity <= 15


def test_a_recorded_trace_is_brought_to_the_rate_of_the_setting(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 1800, 9000))
    np.savetxt(tmp_path / "own_requests.csv.gz", times, header="t_s", comments="")
    assert scenes(tmp_path)[0].name == "own"
    trace = scenes(tmp_path)[0].trace(0)
    assert len(trace.arrivals(0, 1800)) / 1800 == pytest.approx(300, rel=0.01)


def test_a_recorded_peak_stays_within_what_the_nodes_can_hold(tmp_path):
    times = np.concatenate([np.linspace(0, 60, 1000), np.linspace(60, 1800, 1000)])
    np.savetxt(tmp_path / "peak.csv", times, header="t_s", comments="")
    setting = SETTINGS["slow"]
    trace = Scene("peak", "slow", "peak", tmp_path / "peak.csv").trace(0)
    assert len(trace.arrivals(0, 60)) / 60 == pytest.approx(0.75 * setting.max_replicas * setting.capacity, rel=0.05)


def test_rounded_times_are_spread_over_their_step(tmp_path):
    np.savetxt(tmp_path / "coarse.csv", np.repeat(np.arange(0, 300, 3), 50), header="t_s", comments="")
    times = read(recordings(tmp_path)["coarse"]).times
    assert len(np.unique(times)) == 5000
    assert np.histogram(times, np.arange(0, 303, 3))[0].tolist() == [50] * 100


def test_a_file_that_is_no_trace_is_named(tmp_path):
    (tmp_path / "words.csv").write_text("t_s\nearly\n")
    with pytest.raises(ValueError, match=r"words\.csv: the first column must be seconds"):
        read(tmp_path / "words.csv")


def test_a_score_is_kept_until_the_code_behind_it_changes(tmp_path, monkeypatch):
    waiting = jobs([SHORT], list(contenders(("ours", "keda@0.5"))), seeds=1)
    played = [(job, score(job)) for job in waiting]
    assert len(list(Cache(tmp_path / "cache").keep(played))) == 3
    known, left = Cache(tmp_path / "cache").split(waiting)
    assert (known, left) == ([each for _, each in played], [])
    monkeypatch.setattr(Cache, "_ours", "another algorithm")
    known, left = Cache(tmp_path / "cache").split(waiting)
    assert [job.family for job in left] == ["ours"]
    monkeypatch.setattr(caching.Cache, "_world", "another world")
    assert len(Cache(tmp_path / "cache").split(waiting)[1]) == 3
