"""A ModelDeployment becomes a real Triton that gives the model's own answers, and changes without anybody noticing."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.demo.inference import TOLERANCE, directly, over_grpc, over_http
from devcluster.load import Load, steady

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
RATE_PER_SECOND = 50


def held_out() -> np.ndarray:
    return np.asarray(runpy.run_path(str(QUICKSTART / "train.py"))["digits"]()[1][:32])


def test_answers_over_both_protocols_are_the_models_own(place: Any, digits: Any, digits_model: Path) -> None:
    place.apply("digits", {**digits, "replicas": 2})
    body = place.wait_ready("digits")
    assert place.condition("digits", "ModelLoaded")["status"] == "True"
    assert body["status"]["revisions"][0]["modelDigest"].startswith("sha256:")
    images = held_out()
    expected = directly(digits_model)(images)
    for predict in (over_http(place.address("digits")), over_grpc(place.address("digits"))):
        answers = np.concatenate([predict(images[row : row + 4]) for row in range(0, len(images), 4)])
        np.testing.assert_allclose(answers, expected, atol=TOLERANCE)


@pytest.mark.parametrize("updates", [2, pytest.param(5, marks=pytest.mark.acceptance)])
def test_updates_under_load_fail_no_request(place: Any, digits: Any, tmp_path: Path, updates: int) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    targets = {"http": f"{place.address('digits')}:8000", "grpc": f"{place.address('digits')}:8001"}
    with Load(targets, "digits", 64, steady(600, RATE_PER_SECOND), tmp_path) as load:
        for update in range(updates):
            generation = place.patch("digits", {"batching": {"dynamic": {"maxQueueDelay": f"{update + 2}ms"}}})
            place.wait_ready("digits", generation)
            place.wait("only the new pods are left", lambda: len(place.list("deployments")) == 1)
            place.wait("the old pods have ended", lambda: len(place.list("pods")) == 1)
    answers = load.answers()
    assert (answers.failed, answers.sent) == (0, True), load.problems()
    assert len(answers.at) > updates * 2 * RATE_PER_SECOND


def test_suspending_frees_the_pods_and_resuming_brings_them_back(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.patch("digits", {"suspend": True})
    place.wait_reason("digits", "Suspended")
    place.wait("no pod is left", lambda: not place.list("pods"))
    generation = place.patch("digits", {"suspend": False})
    place.wait_ready("digits", generation)


def test_deleting_it_leaves_nothing(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.kubectl("delete", "mdep", "digits", "--wait=true")
    place.wait("every child is gone", lambda: not place.children())
    place.wait("every pod is gone", lambda: not place.list("pods"), timeout_seconds=120)
