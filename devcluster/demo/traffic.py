"""The autoscaling act: traffic rises and falls, and replicas follow."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster.demo.console import DemoFailed, ask, follow_until_ready, run, say
from devcluster.demo.ground import Ground, delete_leftovers
from devcluster.load import Load, Stage, steady
from devcluster.paths import CHECKOUT

EXAMPLE = Path("examples/autoscaling")
OUTPUT = CHECKOUT / ".demo"
NAME = "ranker"
FEATURES = 4
TARGET_MS = 500.0
"""The target in the example's manifest."""
READY_SECONDS_MAX = 600.0
LOW, HIGH = 6.0, 30.0
"""Requests per second of each of the two protocols."""
STAGES = (*steady(30, LOW), Stage(20, HIGH), Stage(80, HIGH), Stage(10, LOW), Stage(130, LOW))
SETTLED = (95.0, 130.0)
"""Seconds from the beginning between which the replicas have had time to follow the rise."""
CLIENTS = 300
ROW_SECONDS = 5.0
ROW = "{:>5}  {:>10} {:>9}  {:<9} {}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one time; seconds since the load began, rates per second, latencies in ms (NaN for none)."""

    at_seconds: float
    answers_per_second: float
    p50_ms: float
    p99_ms: float
    replicas_wanted: int
    replicas_ready: int
    why: str


def follow_traffic(ground: Ground) -> list[Sample]:
    """Serve the example, let traffic rise and fall, and print what happens; return what was seen."""
    delete_leftovers(ground, NAME)
    ground.upload(EXAMPLE / "model.py", f"models/{NAME}/1/1/model.py")
    say(run(*ground.kubectl, "apply", "-f", str(EXAMPLE / "modeldeployment.yaml")).strip())
    follow_until_ready(ground.kubectl, NAME, generation=1, timeout_seconds=READY_SECONDS_MAX)
    say(f"k6 sends {2 * LOW:g} requests per second, then {2 * HIGH:g}, then {2 * LOW:g} again, over HTTP and gRPC")
    with ground.service_address(NAME) as host:
        load = Load(
            {"http": f"{host}:8000", "grpc": f"{host}:8001"}, NAME, FEATURES, STAGES, OUTPUT / "load", clients=CLIENTS
        )
        say(ROW.format("TIME", "ANSWERS/S", "P99", "REPLICAS", "WHY"))
        with load:
            samples = list(_watch(ground, load))
    _check(load, samples)
    return samples


def _watch(ground: Ground, load: Load) -> Iterator[Sample]:
    """Yield and print what is seen every ROW_SECONDS, until k6 is through."""
    while load.running and not load.answers().at:
        time.sleep(0.2)
    started = float(load.answers().at[0]) if load.answers().at else time.time()
    said = ""
    while load.running:
        # What came in the last second may still be on its way from k6.
        end = time.time() - 1
        sample = _sample(ground, load, started, end)
        p99 = "-" if math.isnan(sample.p99_ms) else f"{sample.p99_ms:.0f}ms"
        replicas = f"{sample.replicas_ready}/{sample.replicas_wanted}"
        rate = f"{sample.answers_per_second:.0f}"
        news, said = (sample.why if sample.why != said else ""), sample.why
        say(ROW.format(f"{sample.at_seconds:.0f}s", rate, p99, replicas, news))
        yield sample
        time.sleep(ROW_SECONDS)


def _sample(ground: Ground, load: Load, started: float, end: float) -> Sample:
    status = ask(ground.kubectl, "mdep", NAME).get("status", {})
    scaling = status.get("autoscaling", {})
    answers = load.answers()
    start = end - ROW_SECONDS
    return Sample(
        at_seconds=end - started,
        answers_per_second=len(answers.between(start, end)) / ROW_SECONDS,
        p50_ms=answers.percentile(50, start, end),
        p99_ms=answers.percentile(99, start, end),
        replicas_wanted=int(scaling.get("desiredReplicas", status.get("replicas", 0))),
        replicas_ready=int(status.get("readyReplicas", 0)),
        why=f"{scaling.get('reason', '')}: {scaling.get('message', '')}",
    )


def _check(load: Load, samples: list[Sample]) -> None:
    """Fail if a request was lost; say if replicas did not follow the traffic, or the target was missed after they did.

    A machine that is busy with something else answers late however many replicas there are, which is no reason to stop.
    """
    answers = load.answers()
    say(f"{len(answers.at)} requests answered, {answers.failed} failed")
    if answers.failed or not answers.sent or not answers.at:
        raise DemoFailed(f"{answers.failed} requests failed, {answers.unsent} were not sent:\n{load.problems()}")
    started = float(answers.at[0])
    p99 = answers.percentile(99, started + SETTLED[0], started + SETTLED[1])
    most, last = max(sample.replicas_ready for sample in samples), samples[-1].replicas_wanted
    say(f"p99 at {2 * HIGH:g} requests per second on {most} replicas: {p99:.0f}ms, target {TARGET_MS:.0f}ms")
    surprises = []
    if not p99 <= TARGET_MS:
        surprises.append("the target was missed although the replicas had time to scale")
    if not last < most:
        surprises.append(f"there are still {last} replicas after the traffic fell")
    if surprises:
        busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
        say(f"Not as expected: {' and '.join(surprises)}.")
        say(f"A busy machine ({busy}) is late whatever the replicas; `tritonfleet explain {NAME}` has the reasons.")
