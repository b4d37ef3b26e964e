"""`tritonfleet tune`: find the batching and the instances that carry the most load within the SLO, by trials.

`tune()` reads a ModelDeployment from a file or a cluster and makes the trials that `sim/tuning.py` asks for, on a
server that may reload the model (`--server`), or in a temporary pod beside the deployment (`_Beside`), which gets
no traffic and is removed whatever happens. Every trial is kept in a state file at once: a run that was ended goes on
there. The result is a table, a patch, what it means in replicas, and a picture.
"""

import asyncio
import json
import signal
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from io import BytesIO
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Protocol

import yaml

from tritonfleet import settings
from tritonfleet.adapters.loadtest import (
    EncodedRequest,
    TrialServer,
    encode,
    made_up,
    make_trial,
    reloaded,
    trial_server,
)
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted, duration_seconds, duration_text
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.manifests import merge_patched, read_manifest, read_manifests
from tritonfleet.cli.place import Place, place_of
from tritonfleet.cli.terminal import UsageError, one_line, read_bytes, report_error, rows, say, write_bytes
from tritonfleet.errors import NoCluster, Refused, Rejected, TritonfleetError
from tritonfleet.plan.autoscale import Policy
from tritonfleet.plan.objects import CONFIG_KEY, PORTS, Revision, build_revision, revision_from, trial_objects
from tritonfleet.plan.pods import diagnose, has_ended, is_ready
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rollout.verification import InvalidGolden, golden_entries, inputs_of
from tritonfleet.plan.scaling import autoscaling_policy, loaded_model
from tritonfleet.plan.world import Manifest
from tritonfleet.sim import (
    SearchOutcome,
    SearchSpace,
    Setting,
    SettingResult,
    Slo,
    Trial,
    grid,
    next_trial,
    outcome,
    replicas_for,
)

ROOM_SECONDS: Final = 30.0
"""How long a pod may be unschedulable."""
REACH_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.5
CLEANUP_SECONDS: Final = 60
"""Beyond the budget and the time to start, until a pod whose tuner was killed ends by itself."""
WORTH_CHANGING: Final = 1.02
LATE_SHARE, RETRIES = 0.2, 2
"""Share of the target by which requests may be sent late in a trial that is not made again, and how often one is."""
_STATE_FORMAT: Final = 1
_KNOBS: Final = {"max_batch_size": "maxBatchSize", "queue_delay_us": "maxQueueDelay", "instances": "instances"}


def tune(options: SimpleNamespace) -> int:
    """Tune and print; 1 if it is not possible now, 2 for wrong input, 143 if it was told to end."""
    try:
        return asyncio.run(_tune(options))
    except (UsageError, InvalidGolden, NoCluster) as problem:
        return report_error("tune", problem)
    except TritonfleetError as problem:
        report_error("tune", problem)
        return 1
    except asyncio.CancelledError:
        say("tritonfleet tune: ended; its trials are kept", error=True)
        return 143


async def _tune(options: SimpleNamespace) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        place = None if _is_file(options.source) else await stack.enter_async_context(place_of(options))
        if place is None and (options.apply or not options.server):
            raise UsageError(
                "--apply and trials in the cluster need the NAME of a ModelDeployment; a FILE needs --server"
            )
        body = await place.model_deployment(options.source) if place is not None else None
        deployment = ModelDeployment.parse(body) if body is not None else read_manifest(options.source)
        slo = _objective(deployment)
        given = await _given_requests(options, place, deployment)
        state = _State.read(options, deployment, slo, given)
        run = _Run(options, deployment, slo, state)
        if options.server:
            server = await stack.enter_async_context(trial_server(options.server, deployment.model_name))
            bench: _Bench = await stack.enter_async_context(reloaded(server, deployment.spec))
        elif place is not None and body is not None:
            bench = await stack.enter_async_context(_beside(place, body, deployment, options.budget))
        else:
            raise AssertionError("one of them is there")
        space = await run.search(bench, given)
        report = _Report(deployment, slo, outcome(space, state.trials), tuple(state.trials), run.notes, bench.parallel)
        _show(report, options)
        if options.apply and place is not None and body is not None and report.patch:
            await place.cluster.patch_spec(body, report.patch)
            say(f"{names.KIND} '{options.source}' patched: the change is rolled out like any other", error=True)
    return 0


def _is_file(source: str) -> bool:
    return source == "-" or "/" in source or source.endswith((".yaml", ".yml", ".json"))


def _objective(deployment: ModelDeployment) -> Slo:
    latency = deployment.spec.slo.latency if deployment.spec.slo is not None else None
    if latency is None:
        raise UsageError(
            "spec.slo.latency: must be set, such as {percentile: 99, target: 50ms}: it decides what is best"
        )
    for wrong, why in (
        (deployment.spec.batching is not None and deployment.spec.batching.sequence is not None, "keeps sequences"),
        (bool(deployment.spec.model.decoupled), "is decoupled"),
        (deployment.spec.model.backend == "ensemble", "is an ensemble: tune its models one by one"),
    ):
        if wrong:
            raise UsageError(f"'{deployment.metadata.name}' cannot be tuned: it {why}")
    policy = autoscaling_policy(deployment, datetime.now(UTC))
    return Slo(policy.latency_target_seconds or 1.0, latency.percentile)


async def _given_requests(
    options: SimpleNamespace, place: Place | None, deployment: ModelDeployment
) -> list[EncodedRequest]:
    """Return the requests of --requests, or the golden ones of the spec; none if there are none."""
    canary = deployment.spec.rollout.canary
    golden = canary.verification.golden if canary is not None else None
    text, key = "", golden.key if golden is not None else "golden.json"
    if options.requests:
        text = read_bytes(options.requests).decode(errors="replace")
        if not text.lstrip().startswith("["):
            manifest = next(iter(read_manifests(text, options.requests)), None)
            text = str(((manifest or {}).get("data") or {}).get(key, ""))
    elif golden is not None and place is not None:
        manifest = await place.cluster.get("ConfigMap", place.namespace, golden.config_map_name)
        text = str(((manifest or {}).get("data") or {}).get(key, ""))
    if not text:
        if options.requests:
            raise UsageError(
                f"{options.requests}: must be a JSON list of requests, or a ConfigMap with the key '{key}'"
            )
        return []
    return [encode(inputs_of(each)) for each in golden_entries(text, ("name", "inputs"), ("outputs",))]


@dataclass
class _State:
    """The trials made so far, in a file that is written after each."""

    path: Path
    key: str
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def read(
        cls, options: SimpleNamespace, deployment: ModelDeployment, slo: Slo, requests: Sequence[EncodedRequest]
    ) -> "_State":
        spec, sent = _spec_of(deployment), sha256(b"".join(each.body for each in requests)).hexdigest()
        identity = [spec["model"], spec.get("server"), asdict(slo), options.server, sent, options.shape]
        key = sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
        path = Path(options.state or f"{deployment.metadata.name}.tune.json")
        found = cls(path, key)
        if path.is_file():
            try:
                document = json.loads(path.read_bytes())
                if (document["format"], document["key"]) == (_STATE_FORMAT, key):
                    found.trials = [Trial.restore(each) for each in document["trials"]]
                    say(f"{path}: using {counted(len(found.trials), 'trial')} of an earlier run", error=True)
                else:
                    say(f"{path}: of another model, server or SLO, and replaced", error=True)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}: no state of this command; remove it or choose another --state") from error
        return found

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        document = {"format": _STATE_FORMAT, "key": self.key, "trials": [asdict(each) for each in self.trials]}
        beside = self.path.with_name(f"{self.path.name}.new")
        write_bytes(str(beside), json.dumps(document, indent=1).encode())
        beside.replace(self.path)


class _Bench(Protocol):
    """What trials are made on."""

    @property
    def current(self) -> Setting:
        """The setting as it is."""

    @property
    def tunes_batches(self) -> bool:
        """Whether the model has a dimension for batches."""

    @property
    def tunes_instances(self) -> bool:
        """Whether there is one count of instances."""

    @property
    def parallel(self) -> int:
        """Instances that a count of 1 makes: one for each GPU."""

    async def at(self, setting: Setting) -> TrialServer:
        """Return the server with a setting; raises Rejected, with Triton's words, if the model does not load."""


@dataclass
class _Run:
    """One run of the search."""

    options: SimpleNamespace
    deployment: ModelDeployment
    slo: Slo
    state: _State
    notes: list[str] = field(default_factory=list)

    async def search(self, bench: _Bench, requests: list[EncodedRequest]) -> SearchSpace:
        """Make trials until the search ends or the budget is used up; return the settings that they were among."""
        current, end, retries = bench.current, time.monotonic() + self.options.budget, RETRIES
        largest = max(self.options.max_batch_size, current.max_batch_size) if bench.tunes_batches else 1
        most = max(self.options.max_instances * bench.parallel, current.instances)
        space = grid(self.slo, current, largest_batch=largest, most_instances=most)
        counts = tuple(each for each in space.instance_counts if each % bench.parallel == 0)
        space = replace(space, instance_counts=counts if bench.tunes_instances and counts else (current.instances,))
        if not bench.tunes_batches:
            self.notes.append("the model does not batch (max_batch_size 0): only its instances were tuned")
        if not bench.tunes_instances:
            self.notes.append("the model has several groups of instances: they were left as they are")
        while (wanted := next_trial(space, self.state.trials)) is not None:
            if time.monotonic() > end:
                self.notes.append("the budget is used up: run it again, and it goes on with the state that it kept")
                break
            how = f"at {per_second(wanted.rate)} requests/s" if wanted.rate else "with clients that never pause"
            say(f"trial {len(self.state.trials) + 1}: {wanted.setting}, {how} ({wanted.why})", error=True)
            try:
                server = await bench.at(wanted.setting)
                if not requests:
                    requests.extend(await self._made_up(server, batched=bench.tunes_batches))
                seed = len(self.state.trials)
                trial = await make_trial(server, requests, wanted, self.slo, seed=seed)
            except Rejected as words:
                trial = Trial(wanted.setting, wanted.rate, failure=one_line(str(words)))
            if trial.send_lag_seconds > LATE_SHARE * self.slo.latency_seconds and not trial.within:
                late = (
                    f"requests were sent up to {format_duration(trial.send_lag_seconds)} late: this machine is too busy"
                )
                if retries:
                    retries -= 1
                    say(f"  {late}; again", error=True)
                    continue
                self.notes.append(f"at {per_second(trial.rate)} requests/s {late}, and the model may carry more")
            retries = RETRIES
            self.state.add(trial)
            say(f"  {_came_of(trial, self.slo)}", error=True)
        failures = dict.fromkeys(each.failure for each in self.state.trials if each.failure)
        self.notes.extend(f"a trial failed: {words}" for words in failures)
        if not any(each.rate == 0 and not each.failure for each in self.state.trials):
            raise Rejected(f"no trial was possible: {next(iter(failures), 'the budget was too short')}")
        return space

    async def _made_up(self, server: TrialServer, *, batched: bool) -> list[EncodedRequest]:
        self.notes.append("inputs were made up from the model's shapes; --requests gives real ones")
        shapes = dict(self.options.shape)
        return [encode(made_up(await server.inputs(), batched=batched, shapes=shapes))]


def _came_of(trial: Trial, slo: Slo) -> str:
    if trial.failure:
        return f"failed: {trial.failure}"
    if not trial.rate:
        return ", ".join(f"{size}: {format_duration(spent / count)}" for size, count, spent in trial.batches)
    kept = "within the SLO" if trial.within else "too slow"
    high, took = format_duration(trial.percentile_seconds), format_duration(max(0.001, trial.took_seconds))
    return f"{kept}{'' if trial.sure else ', likely'}: p{slo.percentile:g} {high} after {took}"


def _spec_of(deployment: ModelDeployment) -> Any:
    return deployment.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _patch_of(deployment: ModelDeployment, current: Setting, setting: Setting, parallel: int) -> Manifest:
    """Return the merge patch of a spec that makes a setting of it; empty parts are left out."""
    spec = _spec_of(deployment)
    before, patch = (spec.get("batching") or {}), Manifest()
    if (setting.max_batch_size, setting.queue_delay_us) != (current.max_batch_size, current.queue_delay_us):
        dynamic = before.get("dynamic")
        batching: Manifest = {"maxBatchSize": setting.max_batch_size}
        if setting.max_batch_size > 1 or dynamic is not None:
            batching["dynamic"] = {"maxQueueDelay": duration_text(setting.queue_delay_us)}
            if dynamic and dynamic.get("preferredBatchSizes"):
                batching["dynamic"]["preferredBatchSizes"] = None
        patch["batching"] = batching
    if setting.instances != current.instances:
        groups = spec.get("instances") or [{}]
        patch["instances"] = [{**groups[0], "count": max(1, setting.instances // parallel)}]
    return patch


@dataclass
class _Beside:
    """A pod beside the deployment, a new one for each setting."""

    place: Place
    body: Manifest
    deployment: ModelDeployment
    revision: Revision
    ends: float
    """When the pod ends by itself, on the monotonic clock."""
    stack: AsyncExitStack
    running: Setting | None = None
    server: TrialServer | None = None

    @property
    def _policy(self) -> Policy:
        return autoscaling_policy(self.deployment, datetime.now(UTC), loaded_model(self.body))

    @property
    def current(self) -> Setting:
        """The setting as it is."""
        policy = self._policy
        size = max(1, policy.max_batch_size)
        delay = round(1e6 * policy.max_queue_delay_seconds) if size > 1 else 0
        return Setting(max(1, policy.instances), delay, size)

    @property
    def tunes_batches(self) -> bool:
        """Whether the model has a dimension for batches, by the spec or as it was loaded."""
        batching = self.deployment.spec.batching
        said = batching.max_batch_size if batching is not None else None
        return bool(said if said is not None else self._policy.max_batch_size > 1)

    @property
    def tunes_instances(self) -> bool:
        """Whether there is one count of instances."""
        return len(self.deployment.spec.instances) <= 1

    @property
    def parallel(self) -> int:
        """Instances that a count of 1 makes."""
        return max(1, self.deployment.spec.server.gpu.count)

    async def at(self, setting: Setting) -> TrialServer:
        """Start a pod with a setting, unless it runs; raises Rejected, with Triton's words, if it does not load."""
        if setting != self.running or self.server is None:
            self.running = self.server = None
            await self.remove()
            self.server = await self._start(setting)
            self.running = setting
        return self.server

    async def _start(self, setting: Setting) -> TrialServer:
        patch = _patch_of(self.deployment, self.current, setting, self.parallel)
        # Requests that are the same each time would be answered from the cache.
        spec = merge_patched(merge_patched(_spec_of(self.deployment), patch), {"server": {"responseCache": None}})
        tried = ModelDeployment.parse({**self.body, "spec": spec})
        config = build_revision(tried, settings.from_environment().defaults).config[CONFIG_KEY]
        seconds = max(1, ceil(self.ends - time.monotonic()))
        files, pod = trial_objects(self.deployment, self.revision, config, seconds)
        try:
            for each in (files, pod):
                await self.place.cluster.create(each)
        except Refused as problem:
            raise TritonfleetError(f"the cluster does not take the trial's {each['kind']}: {problem}") from problem
        address = await self._ready(pod["metadata"]["name"])
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{PORTS['http']}"
        server = await self.stack.enter_async_context(trial_server(url, self.deployment.model_name))
        end = time.monotonic() + REACH_SECONDS
        while not await server.ready():
            if time.monotonic() > end:
                raise TritonfleetError(
                    f"{url} cannot be reached from here: run it where pods can be, as in a pod or on a node"
                )
            await asyncio.sleep(POLL_SECONDS)
        return server

    async def _ready(self, name: str) -> str:
        """Return the address of the pod once it is ready; raises Rejected for a model that does not load."""
        began = time.monotonic()
        while True:
            pod = await self.place.cluster.get("Pod", self.place.namespace, name)
            if pod is None:
                raise TritonfleetError(f"pod '{name}' was deleted during the trial")
            if is_ready(pod) and pod["status"].get("podIP"):
                return str(pod["status"]["podIP"])
            # The end of one container ends the pod, and only the container says why.
            seen = {**pod, "status": {**pod.get("status", {}), "phase": "Running"}}
            gpus = self.deployment.spec.server.gpu.resource_name
            revision = KnownRevision.of(self.revision.hash, 0, None, None, (seen,), gpus)
            finding = diagnose(revision, None, datetime.now(UTC))
            if finding is not None and finding.lacks_room and time.monotonic() - began > ROOM_SECONDS:
                raise TritonfleetError(f"the cluster has no room for a trial: {finding.message}")
            if finding is not None and not finding.lacks_room:
                raise Rejected(finding.message)
            if has_ended(pod):
                raise TritonfleetError(
                    f"pod '{name}' ended: {pod['status'].get('message') or pod['status'].get('reason')}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def remove(self) -> None:
        """Delete what a trial left, of this run or of one that was killed, and wait until it is gone."""
        selector = f"{names.TRIAL_LABEL}={self.deployment.metadata.name}"
        for kind in ("Pod", "ConfigMap"):
            listing = await self.place.cluster.list(kind, self.place.namespace, labels=selector)
            for each in listing.items if listing is not None else ():
                metadata = each["metadata"]
                await self.place.cluster.delete(kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])
                while await self.place.cluster.get(kind, metadata["namespace"], metadata["name"]):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _beside(place: Place, body: Manifest, deployment: ModelDeployment, budget: float) -> AsyncIterator[_Beside]:
    """Make trials in a pod of the serving revision's template; nothing of it is left at the end."""
    selector = f"{names.OWNER_LABEL}={deployment.metadata.name}"
    listing = await place.cluster.list("ControllerRevision", place.namespace, labels=selector)
    stable = ((body.get("status") or {}).get("revision") or {}).get("stable")
    record = next((each for each in (listing.items if listing else ()) if each["metadata"]["name"] == stable), None)
    if record is None:
        raise TritonfleetError(f"'{deployment.metadata.name}' serves no revision yet whose pod could be tried")
    async with AsyncExitStack() as stack:
        starting = duration_seconds(deployment.spec.server.startup_timeout)
        ends = time.monotonic() + budget + starting + CLEANUP_SECONDS
        bench = _Beside(place, body, deployment, revision_from(record), ends, stack)
        await bench.remove()
        try:
            yield bench
        finally:
            await bench.remove()


@dataclass(frozen=True)
class _Report:
    """The result, and what it means."""

    deployment: ModelDeployment
    slo: Slo
    found: SearchOutcome
    trials: tuple[Trial, ...]
    notes: Sequence[str]
    parallel: int

    @property
    def gain(self) -> float:
        """The best load over the present one."""
        return self.found.best.load / self.found.current.load if self.found.current.load > 0 else 0.0

    @property
    def patch(self) -> Manifest:
        """The merge patch of the spec; empty if the setting should stay as it is."""
        best, current = self.found.best, self.found.current
        if not best.measured or (current.measured and self.gain < WORTH_CHANGING):
            return {}
        return _patch_of(self.deployment, current.setting, best.setting, self.parallel)

    def replicas(self, result: SettingResult, rate: float) -> int:
        """Return the replicas that the autoscaler would need for a rate."""
        policy = autoscaling_policy(self.deployment, datetime.now(UTC))
        return replicas_for(rate, policy, result, self.found.service.get(result.setting))

    def table(self) -> list[tuple[str, ...]]:
        """Return the settings that were tried under load, the best first."""
        lines: list[tuple[str, ...]] = [("", "SETTING", "WITHIN THE SLO", "P50", f"P{self.slo.percentile:g}", "TRIALS")]
        for each in self.found.results:
            mark = "best" if each.setting == self.found.best.setting else ""
            mark = f"{mark} now".strip() if each.setting == self.found.current.setting else mark
            times = [format_duration(value) if value is not None else "-"
                     for value in (each.median_seconds, each.percentile_seconds)]  # fmt: skip
            load = f"{per_second(each.load)}/s" if each.measured else f"below {per_second(each.load)}/s"
            lines.append((mark, str(each.setting), "failed" if each.failure else load, *times, str(each.trials)))
        return lines

    def sentences(self, rate: float | None) -> list[str]:
        """Return what it means."""
        best, current = self.found.best, self.found.current
        lines = [f"{best.load / current.load:.2f} times the load of the setting as it is"] if current.load > 0 else []
        if not self.patch:
            lines = ["the setting as it is cannot be improved by more than the trials can tell"]
        if self.found.knobs and self.patch:
            worth = ", ".join(f"{_KNOBS[knob]} {factor:.2f} times" for knob, factor in self.found.knobs.items())
            lines.append(f"what each knob brings, the others as in the best: {worth}")
        if rate is not None:
            after, before = (self.replicas(each, rate) for each in (best, current))
            lines.append(
                f"{per_second(rate)} requests/s take {counted(after, 'replica')}"
                + (f" instead of {before}" if before else "")
            )
        tried = len({each.setting for each in self.trials})
        spent = format_duration(max(1.0, sum(each.took_seconds for each in self.trials)))
        lines.append(f"{counted(len(self.trials), 'trial')} of {tried} among {self.found.grid} settings, {spent}")
        return [*lines, *self.notes]

    def document(self, rate: float | None) -> dict[str, Any]:
        """Return the result for `-o json`."""
        found = asdict(replace(self.found, service={}, knobs={}))
        return {
            "name": self.deployment.metadata.name,
            "slo": asdict(self.slo),
            **{name: found[name] for name in ("best", "current", "results", "grid")},
            "gain": self.gain,
            "knobs": {_KNOBS[knob]: factor for knob, factor in self.found.knobs.items()},
            "replicas": {
                name: self.replicas(result, rate)
                for name, result in (("best", self.found.best), ("current", self.found.current))
                if rate is not None
            },
            "patch": {"spec": self.patch} if self.patch else {},
            "trials": [asdict(each) for each in self.trials],
            "notes": list(self.notes),
        }


def _show(report: _Report, options: SimpleNamespace) -> None:
    if options.plot:
        write_bytes(options.plot, _picture(report, Path(options.plot).suffix.removeprefix(".").lower() or "png"))
    if options.html:
        write_bytes(options.html, _page(report, options.rate).encode())
    if options.output == "json":
        say(json.dumps(report.document(options.rate), indent=2))
        return
    slo = f"p{report.slo.percentile:g} <= {format_duration(report.slo.latency_seconds)}"
    say(f"{report.deployment.metadata.name}: {slo}, one replica\n")
    say("\n".join([*rows(report.table()), "", *report.sentences(options.rate)]))
    if report.patch:
        say(f"\n{yaml.safe_dump({'spec': report.patch}, sort_keys=False).rstrip()}")


def _picture(report: _Report, form: str) -> bytes:
    """Draw every trial, throughput against the percentile of latency, with the SLO and the chosen setting."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes longer to start than to draw

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    best, current, target = report.found.best.setting, report.found.current.setting, report.slo.latency_seconds
    groups = {"other settings": "#94a3b8", f"now: {current}": "#d97706", f"best: {best}": "#047857"}
    members = {each.setting: list(groups)[2 if each.setting == best else 1 if each.setting == current else 0]
               for each in report.trials}  # fmt: skip
    for label, color in groups.items():
        made = sorted((each.rate, min(1e3 * each.percentile_seconds, 4e3 * target))
                      for each in report.trials if each.rate and members[each.setting] == label)  # fmt: skip
        if made:
            axes.plot(*zip(*made, strict=True), "o-" if label != "other settings" else "x", color=color, label=label)
    axes.axhline(1e3 * target, color="#b91c1c", linestyle="--", label="the SLO")
    if report.found.best.percentile_seconds is not None:
        point = (report.found.best.load, 1e3 * report.found.best.percentile_seconds)
        axes.plot(*point, "*", markersize=18, color="#047857", label="chosen")
    axes.set_xlabel("requests/s, Poisson arrivals, one replica")
    axes.set_ylabel(f"p{report.slo.percentile:g} latency, ms")
    axes.set_ylim(bottom=0)
    axes.set_title(report.deployment.metadata.name)
    axes.legend(fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format=form, dpi=140)
    return buffer.getvalue()


def _page(report: _Report, rate: float | None) -> str:
    """Return a page without external parts; names and Triton's words are escaped."""
    image = b64encode(_picture(report, "png")).decode()
    head, *body = report.table()
    table = "".join(
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line) + "</tr>"
        for tag, lines in (("th", [head]), ("td", body))
        for line in lines
    )
    said = "".join(f"<li>{escape(line)}</li>" for line in report.sentences(rate))
    patch = escape(yaml.safe_dump({"spec": report.patch}, sort_keys=False)) if report.patch else ""
    title = escape(report.deployment.metadata.name)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem }}"
        " td, th { padding: .2rem .8rem; text-align: left } img { width: 100% }</style></head>\n<body>\n"
        f'<h1>{title}</h1>\n<img alt="throughput against latency" src="data:image/png;base64,{image}">\n'
        f"<table>{table}</table>\n<ul>{said}</ul>\n<pre>{patch}</pre>\n</body>\n</html>\n"
    )
