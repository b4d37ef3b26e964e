"""Noise moves nothing: under load that is constant on average replicas stay, and the SLO holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.load import Load, Stage, steady
from tests.e2e.test_autoscaling import FEATURES, TARGET_MS, targets
from tests.e2e.witness import Witness

SECONDS = 1200
RATE = 9.0
"""Requests per second of each protocol."""
NOISE = 0.15
"""Standard deviation of the rate, as a share of it, anew every STEP_SECONDS."""
STEP_SECONDS = 5


@pytest.mark.acceptance
def test_twenty_minutes_of_noise_change_the_replicas_once_at_most(place: Any, ranker: Any, tmp_path: Path) -> None:
    place.apply("ranker", ranker)
    place.wait_ready("ranker")
    noise = np.random.default_rng(seed=20).normal(1.0, NOISE, SECONDS // STEP_SECONDS).clip(0.5, 1.5)
    stages: list[Stage] = [stage for each in noise for stage in steady(STEP_SECONDS, RATE * each)]
    load = Load(targets(place.address("ranker")), "ranker", FEATURES, stages, tmp_path, clients=50)
    with Witness(place.cluster, place.namespace, "ranker") as witness, load:
        load.wait(SECONDS + 120)
    answers = load.answers()
    assert (answers.failed, answers.sent) == (0, True), load.problems()
    assert len(answers.at) == pytest.approx(2 * RATE * SECONDS, rel=0.05)
    assert len(witness.changes()) <= 1
    assert answers.percentile(99, 0, float("inf")) <= TARGET_MS
