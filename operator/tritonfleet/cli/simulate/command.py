"""One simulation, from the options to what is printed and drawn.

`run()` of the package calls `simulated()`: it checks that outputs can be written, builds the scenario and the traffic,
simulates every scaler, and prints the report.
"""

import json
import time
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from tritonfleet.api.quantities import counted
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.manifests import read_manifest
from tritonfleet.cli.simulate import runner, scenario, traffic
from tritonfleet.cli.simulate.report import OURS, Entry, Outcome, caveats, record, report
from tritonfleet.cli.simulate.runner import Scenario, run_all
from tritonfleet.cli.simulate.scenario import Fleet, assumptions, fleet
from tritonfleet.cli.simulate.traffic import Traffic
from tritonfleet.cli.terminal import UsageError, progress, say, write_bytes
from tritonfleet.errors import InvalidSpec

FORMS: Final = ("pdf", "png", "svg")
START_SECONDS: Final = 300.0
"""Every scaler starts with what the first five minutes need, so that earlier scaling gives none an advantage."""
START_MARGIN: Final = 1.2


def simulated(options: SimpleNamespace) -> int:
    """Simulate, print and plot; raises UsageError for wrong input."""
    if "list" in {options.trace, *options.faults, *options.scalers}:
        say(_lists().rstrip("\n"))
        return 0
    form = _form(options.plot, options.html)
    rivals = runner.chosen_scalers(options.scalers)
    chosen = _fleet(options)
    road = traffic.chosen_traffic(
        options.trace,
        rate=options.rate,
        duration_seconds=options.duration,
        seed=options.seed,
        capacity=(chosen.capacity or chosen.throughput) * chosen.policy.max_replicas,
    )
    wrong = tuple(scenario.parse_fault(text, road.trace.duration_seconds) for text in options.faults)
    setup = Scenario(_started(chosen, road), road.trace, wrong, options.seed)
    outcome = _simulate(setup, rivals, road, options)
    if options.plot or options.html:
        _draw(outcome, form, options)
    say(json.dumps(record(outcome), indent=2) if options.json else report(outcome))
    return 0


def _draw(outcome: Outcome, form: str, options: SimpleNamespace) -> None:
    from tritonfleet.cli.simulate import plot  # noqa: PLC0415 - matplotlib takes longer to start than a short run

    if options.plot:
        write_bytes(options.plot, plot.drawn(outcome, form))
    if options.html:
        write_bytes(options.html, plot.page(outcome).encode())


def _lists() -> str:
    shown = "\n".join(f"{example:<26}{meaning}" for example, meaning in scenario.fault_listing())
    parts = {
        "traffic, and its length": traffic.traffic_listing(),
        "faults": shown,
        "scalers": runner.scaler_listing(),
    }
    return "\n\n".join(f"{head}:\n{lines}" for head, lines in parts.items()) + "\n"


def _fleet(options: SimpleNamespace) -> Fleet:
    deployment = read_manifest(options.filename)
    try:
        return fleet(deployment, options.service, options.ready_time)
    except InvalidSpec as problem:
        raise UsageError(f"{options.filename}: {problem}") from problem


def _form(plot: str | None, html: str | None) -> str:
    """Return the format of the plot; raises UsageError for paths that cannot be written."""
    for option, path in (("--plot", plot), ("--html", html)):
        if path is not None and not Path(path).parent.is_dir():
            raise UsageError(f"{option}: directory '{Path(path).parent}' does not exist")
    form = Path(plot or "x.png").suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise UsageError(f"--plot: '{plot}' must end in .{', .'.join(FORMS)}")
    return form


def _started(chosen: Fleet, road: Traffic) -> Fleet:
    first = min(START_SECONDS, road.trace.duration_seconds)
    rate = len(road.trace.arrivals(0.0, first)) / first
    needed = ceil(START_MARGIN * rate / (chosen.capacity or chosen.throughput))
    plant = chosen.plant
    initial = min(max(needed, plant.min_replicas), plant.max_replicas)
    return replace(chosen, plant=replace(plant, initial_replicas=initial))


def _simulate(setup: Scenario, rivals: tuple[str, ...], road: Traffic, options: SimpleNamespace) -> Outcome:
    started = time.monotonic()
    # The clairvoyant takes by far the longest, so it starts first.
    names = (*([runner.CLAIRVOYANT] if setup.fleet.feasible else []), OURS, *rivals)
    with progress(f"simulating {format_duration(road.trace.duration_seconds)} with {len(names)} scalers") as line:
        runs = run_all(setup, names, jobs=options.jobs, on_progress=line.update)
    entries = [Entry(name, runner.title(name, setup.fleet), run) for name, run in zip(names, runs, strict=True)]
    oracle = next((entry for entry in entries if entry.key == runner.CLAIRVOYANT), None)
    chosen, ours = setup.fleet, next(entry.run for entry in entries if entry.key == OURS)
    slo = f"p{chosen.slo.percentile:g} <= {format_duration(chosen.slo.latency_seconds)}"
    return Outcome(
        headline=f"{chosen.name} on {ours.trace}: {slo}, {chosen.policy.min_replicas} to"
        f" {chosen.policy.max_replicas} replicas",
        entries=tuple(entry for entry in entries if entry is not oracle),
        oracle=oracle,
        gpus_per_replica=chosen.gpus_per_replica,
        max_replicas=chosen.policy.max_replicas,
        assumptions=(*_traffic_notes(road, ours.requests), *assumptions(chosen)),
        warnings=tuple(caveats(chosen, ours)),
        took_seconds=time.monotonic() - started,
    )


def _traffic_notes(road: Traffic, requests: int) -> tuple[str, ...]:
    length = road.trace.duration_seconds
    return (
        f"{counted(requests, 'request')} in {format_duration(length)}, {per_second(requests / length)} per second",
        *road.notes,
    )
