"""The demo's output: steps that always end in a message, and waits with a deadline."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from tritonclient.utils import InferenceServerException

from devcluster import errors

Found = TypeVar("Found")

POLL_SECONDS = 0.5
COMMAND_SECONDS_MAX = 300.0
API_SECONDS_MAX = 45.0
"""How long to retry requests to the API server: a busy one recovers, a dead one does not."""
COLUMNS = "{:>7}  {:<8} {:<18} {:<9} {:<22} {}"
SEEN_LINES_MAX = 14


class DemoFailed(Exception):
    """A step did not do what it should; the message says what was seen."""


FORESEEN = (*errors.FORESEEN, DemoFailed, InferenceServerException, grpc.RpcError)


class StepFailed(Exception):
    """The message of a failed step, without how to continue."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What to show when a step fails: the current state, and a command that shows more."""

    command: str
    seen: Callable[[], str] = str


def guide(acts: Callable[[], None], again: str = "make demo") -> int:
    """Run the acts and return the exit code; expected errors end in one paragraph, not in a traceback."""
    try:
        acts()
    except StepFailed as failure:
        _report_failure(f"{failure}\n    To continue: {again}   (it resumes where it stopped)")
        return 1
    except FORESEEN as error:
        _report_failure(f"The demo stopped: {errors.explain(error)}\n    To continue: {again}")
        return 1
    except KeyboardInterrupt as interrupt:
        where = "".join(f' at step "{title}"' for title in getattr(interrupt, "__notes__", ())[:1])
        _report_failure(f"The demo was interrupted{where}; `{again}` resumes where it stopped.")
        return 130
    return 0


@contextmanager
def step(title: str, witness: Witness) -> Iterator[None]:
    """Print a step and, at its end, its duration; raises StepFailed for expected errors."""
    print(f"\n\033[1m==> {title}\033[0m" if sys.stdout.isatty() else f"\n==> {title}", flush=True)
    start = time.monotonic()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(title)
        raise
    except FORESEEN as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            # The error is a consequence of the interrupt.
            error.__context__.add_note(title)
            raise error.__context__ from None
        raise StepFailed(_paragraph(title, time.monotonic() - start, error, witness)) from error
    print(f"    done in {time.monotonic() - start:.1f}s", flush=True)


def say(text: str) -> None:
    """Print one indented line."""
    print(f"    {text}", flush=True)


def format_duration(seconds: float) -> str:
    """Format a duration."""
    return f"{int(seconds) // 60}m{int(seconds) % 60}s"


def run(*command: str, show: bool = False, stdin: str | None = None) -> str:
    """Run a command and return its output; raises DemoFailed with the end of its output."""
    if show:
        say("$ " + shlex.join(command))
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, input=stdin, timeout=COMMAND_SECONDS_MAX
    )
    if done.returncode != 0:
        words = done.stderr.strip() or done.stdout.strip()
        raise DemoFailed(f"`{shlex.join(command)}` exited with {done.returncode}: {words}")
    return done.stdout


def retry_until(what: str, attempt: Callable[[], Found], seconds: float) -> Found:
    """Retry `attempt` until it succeeds, and return its result; raises DemoFailed at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except FORESEEN as error:
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {seconds:.0f}s for {what}; last: {error}") from error
        time.sleep(POLL_SECONDS)


def ask(kubectl: Sequence[str], *question: str) -> Any:
    """Return the JSON of `kubectl get`, with retries while the API server is busy."""

    def get() -> Any:
        return json.loads(run(*kubectl, "get", *question, "-o", "json", "--request-timeout=10s"))

    return retry_until("an answer of the API server", get, API_SECONDS_MAX)


def follow_until_ready(kubectl: list[str], name: str, generation: int, timeout_seconds: float) -> dict[str, Any]:
    """Print a row whenever the ModelDeployment's status changes, until it is Ready at `generation`."""
    say(COLUMNS.format("TIME", "READY", "REASON", "REPLICAS", "SERVES", "MESSAGE"))
    start, last = time.monotonic(), ""
    while time.monotonic() - start < timeout_seconds:
        body = ask(kubectl, "mdep", name)
        status = body.get("status", {})
        ready = next((one for one in status.get("conditions", ()) if one["type"] == "Ready"), None)
        if ready is not None:
            row = _row(body, ready)
            if row != last:
                say(f"{time.monotonic() - start:6.1f}s  {row}")
                last = row
            if ready["status"] == "True" and status.get("observedGeneration", 0) >= generation:
                return dict(body)
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"waited {timeout_seconds:.0f}s for ModelDeployment {name} to be Ready")


def look_at_model(kubectl: Sequence[str], name: str) -> str:
    """Return the conditions of a ModelDeployment, and the problems of its pods."""
    body = ask(kubectl, "mdep", name)
    conditions = body.get("status", {}).get("conditions", ())
    said = [
        f"{one['type']}={one['status']} {one['reason']}: {one['message']}"
        for one in conditions
        if one["type"] in {"Ready", "Stalled"}
    ]
    said = said or [f"{name} has no conditions; is the operator running?"]
    return "\n".join([*said, look_at_pods(kubectl, f"tritonfleet.dev/modeldeployment={name}")])


def look_at_pods(kubectl: Sequence[str], labels: str) -> str:
    """Return the problems of each pod with these labels, and the last warnings about them."""
    pods = ask(kubectl, "pods", "-l", labels)["items"]
    names = {pod["metadata"]["name"] for pod in pods}
    lines = [line for pod in pods for line in _trouble(pod)]
    events = ask(kubectl, "events", "--field-selector=type=Warning")["items"]
    about = [one for one in events if one.get("involvedObject", {}).get("name") in names]
    about.sort(key=lambda one: one.get("lastTimestamp") or "")
    lines += [f"{one['involvedObject']['name']}: {one['reason']}: {one['message']}" for one in about[-3:]]
    return "\n".join(lines or [f"no pod with {labels}" if not pods else "all pods are ready"])


def _trouble(pod: dict[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for one in status.get("conditions", ()):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            yield f"{name}: {one.get('message', 'not scheduled')}"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        for state in (container.get("state", {}), container.get("lastState", {})):
            for kind in ("waiting", "terminated"):
                words = state.get(kind, {})
                if words and words.get("reason") != "Completed":
                    yield f"{name}, {container['name']}: {kind}, {words.get('reason')}: {words.get('message', '')}"
        if container.get("state", {}).get("running") and not container.get("ready"):
            yield f"{name}, {container['name']}: running, but not ready"


def _row(body: dict[str, Any], ready: dict[str, Any]) -> str:
    status = body["status"]
    replicas = f"{status.get('readyReplicas', 0)}/{body['spec'].get('replicas', 1)}"
    serves = status.get("revision", {}).get("stable", "-")
    return COLUMNS.format("", ready["status"], ready["reason"], replicas, serves, ready["message"]).lstrip()


def _paragraph(title: str, seconds: float, error: BaseException, witness: Witness) -> str:
    try:
        more = witness.seen()
    except FORESEEN as blind:
        more = f"nothing more: {blind}"
    lines = [f'The demo stopped at step "{title}" after {seconds:.0f}s.', *_cut("Seen: ", errors.explain(error))]
    lines += _cut("Now: ", more) if more else []
    return "\n".join([*lines, f"    For details: {witness.command}"])


def _cut(heading: str, text: str) -> list[str]:
    """Return the first line of a text and the last ones, each once, indented under a heading."""
    first, *rest = dict.fromkeys(text.splitlines() or [""])
    return [f"    {heading}{first[:1000]}", *(f"        {line[:1000]}" for line in rest[-SEEN_LINES_MAX:])]


def _report_failure(text: str) -> None:
    sys.stdout.flush()
    print(f"\n{text}", file=sys.stderr, flush=True)
