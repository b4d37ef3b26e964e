"""The rollout act: a good version is promoted, and a bad one is rolled back."""

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.demo.console import DemoFailed, ask, follow_until_ready, retry_until, run, say
from devcluster.demo.ground import Ground, delete_leftovers
from devcluster.demo.inference import wait_until_served
from devcluster.demo.traffic import FEATURES, OUTPUT, READY_SECONDS_MAX
from devcluster.load import Answers, Load, steady

EXAMPLE = Path("examples/canary")
NAME = "recommender"
GATEWAY = "inference"
HOST = "recommender.example.com"
SUM = 4.0
"""The sum of a row of ones, which k6 sends."""
RATE = 50.0
"""Requests per second of each of the two protocols."""
CLIENTS = 80
"""Connections of each protocol."""
VERSIONS = {
    "1": {},
    "2": {"seconds": "0.205"},
    "3": {"seconds": "0.315", "bias": "1", "sound_seconds": "15"},
}
"""Parameters of the example's model: the second version is a little faster, the third slow, and wrong after a while."""
GATEWAY_SECONDS_MAX = 120.0
SECONDS_MAX = 600.0
"""Timeout of one rollout."""
AFTER_SECONDS = 10.0
"""Duration of traffic after each rollout."""
PERIOD_SECONDS = 0.5
WINDOW_SECONDS = 5.0
"""Window of the columns of the table."""
ROW = "{:>6}  {:>6} {:>9} {:>8} {:>9}  {}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one time; `at_seconds` since the epoch, weights in percent of the traffic."""

    at_seconds: float
    phase: str
    message: str
    weight: int
    """The canary's weight."""
    ready: Mapping[str, int]
    """Pods by revision."""


@dataclass(frozen=True, slots=True)
class Story:
    """One act: the observed states, and the clients' responses."""

    samples: Sequence[Sample]
    answers: Answers
    versions: dict[str, str]
    """Name of a revision -> version of the model."""

    @property
    def started(self) -> float:
        """Return when the act began, in seconds since the epoch."""
        return min(self.samples[0].at_seconds, self.answers.at[0])

    @property
    def decisions(self) -> list[Sample]:
        """Return the first sample of each phase."""
        return [next(stay) for _, stay in itertools.groupby(self.samples, lambda sample: sample.phase)]


def roll_out(ground: Ground) -> Story:
    """Serve the example behind a gateway, roll out a good and a bad version under load; return what was seen."""
    delete_leftovers(ground, NAME)
    _upload(ground)
    say(run(*ground.kubectl, "apply", "-f", str(EXAMPLE)).strip().replace("\n", "\n    "))
    address = retry_until(f"an address of Gateway {GATEWAY}", lambda: _address(ground), GATEWAY_SECONDS_MAX)
    body = follow_until_ready(ground.kubectl, NAME, generation=1, timeout_seconds=READY_SECONDS_MAX)
    versions = {str(body["status"]["revision"]["stable"]): "1"}
    wait_until_served(address, (80, 80), host=HOST)
    say(f"k6 sends {2 * RATE:g} requests per second through the gateway, over HTTP and gRPC")
    targets = dict.fromkeys(("http", "grpc"), f"{address}:80")
    load = Load(
        targets, NAME, FEATURES, steady(600, RATE), OUTPUT / "rollout", clients=CLIENTS, host=HOST, expected=SUM
    )
    samples: list[Sample] = []
    with load:
        for version, end in (("2", "Stable"), ("3", "RolledBack")):
            samples += _roll(ground, load, version, end, versions)
    answers = load.answers()
    story = Story(samples, answers, versions)
    _check(load, story)
    return story


def _address(ground: Ground) -> str:
    """Return the address of a programmed gateway; raises DemoFailed with its message until then."""
    status = ask(ground.kubectl, "gateway", GATEWAY).get("status", {})
    said = {one["type"]: one for one in status.get("conditions", ())}
    programmed = said.get("Programmed", {"status": "Unknown", "message": "its controller has not seen it"})
    addresses = status.get("addresses", ())
    if programmed["status"] != "True" or not addresses:
        raise DemoFailed(f"Programmed is {programmed['status']}: {programmed['message']}")
    return str(addresses[0]["value"])


def _upload(ground: Ground) -> None:
    for version, parameters in VERSIONS.items():
        lines = [
            f'parameters: {{key: "{name}" value: {{string_value: "{given}"}}}}' for name, given in parameters.items()
        ]
        config = ground.workspace / "config.pbtxt"
        config.write_text((EXAMPLE / "config.pbtxt").read_text() + "\n".join(lines) + "\n")
        ground.upload(config, f"models/{NAME}/{version}/config.pbtxt")
        ground.upload(EXAMPLE / "model.py", f"models/{NAME}/{version}/1/model.py")


def _roll(ground: Ground, load: Load, version: str, end: str, versions: dict[str, str]) -> Iterator[Sample]:
    """Request a version; yield and print the states until some seconds after the rollout has reached `end`."""
    time.sleep(AFTER_SECONDS / 2)
    change = json.dumps({"spec": {"model": {"uri": f"s3://models/{NAME}/{version}"}}})
    say("$ kubectl patch mdep " + NAME + f" --type=merge -p '{change}'")
    run(*ground.kubectl, "patch", "mdep", NAME, "--type=merge", "-p", change)
    say(ROW.format("TIME", "CANARY", "FAILED", "WRONG", "P99", "WHAT HAPPENS"))
    started, said, over = time.time(), "", float("inf")
    while time.time() < min(over, started + SECONDS_MAX):
        sample, canary = _sample(ground)
        if canary:
            versions[canary] = version
        if sample.message != said:
            _print(sample, load.answers(), started)
            said = sample.message
        yield sample
        if over == float("inf") and sample.phase == end and version in versions.values():
            over = time.time() + AFTER_SECONDS
        time.sleep(PERIOD_SECONDS)
    if over == float("inf"):
        raise DemoFailed(f"version {version} was not {end} after {SECONDS_MAX:.0f}s; last: {said}")


def _sample(ground: Ground) -> tuple[Sample, str]:
    """Return what is seen now, and the name of the canary, empty for none."""
    status = ask(ground.kubectl, "mdep", NAME).get("status", {})
    rollout = status.get("rollout", {})
    pods = ask(ground.kubectl, "pods", "-l", f"tritonfleet.dev/modeldeployment={NAME}")["items"]
    sample = Sample(
        at_seconds=time.time(),
        phase=rollout.get("phase", ""),
        message=rollout.get("message", ""),
        weight=int(rollout.get("weights", {}).get("desired", 0)),
        ready=Counter(_revision(pod) for pod in pods if _is_ready(pod)),
    )
    return sample, rollout.get("canary", "")


def _revision(pod: Mapping[str, Any]) -> str:
    return f"{NAME}-{pod['metadata']['labels']['tritonfleet.dev/revision']}"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    serves = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return serves and "deletionTimestamp" not in pod["metadata"]


def _print(sample: Sample, answers: Answers, started: float) -> None:
    # What came in the last second may still be on its way from k6.
    end = time.time() - 1
    p99 = answers.percentile(99, end - WINDOW_SECONDS, end)
    wrong = sum(end - WINDOW_SECONDS <= at < end for at in answers.wrong_at)
    cells = (
        f"{sample.at_seconds - started:.1f}s",
        f"{sample.weight} %",
        f"{answers.failed_between(end - WINDOW_SECONDS, end)}",
        f"{wrong}",
        "-" if math.isnan(p99) else f"{p99:.0f}ms",
    )
    say(ROW.format(*cells, f"{sample.phase}: {sample.message}"))


def _check(load: Load, story: Story) -> None:
    """Fail unless the good version got all traffic, and the bad one no more than its share of two windows."""
    answers, served = story.answers, story.answers.by_revision()
    by_version = {story.versions.get(name, name): count for name, count in served.items()}
    say(
        f"{len(answers.at)} requests answered, "
        + ", ".join(f"{count} by version {version}" for version, count in sorted(by_version.items()))
        + f"; {answers.failed} failed, {len(answers.wrong_at)} wrong"
    )
    if answers.failed or not answers.sent or not answers.at:
        raise DemoFailed(f"{answers.failed} requests failed, {answers.unsent} were not sent:\n{load.problems()}")
    if not by_version.get("2", 0) > by_version.get("3", 0):
        raise DemoFailed(f"version 2 is good and version 3 is not, but they answered {by_version}")
    last = {
        story.versions[name] for at, name in zip(answers.at, answers.revisions, strict=True) if at > answers.at[-1] - 2
    }
    if last != {"2"}:
        raise DemoFailed(f"at the end only version 2 should answer, not {sorted(last)}")
