"""What the demo shows: numbered steps with the time each took, and a table that grows as the model comes up."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

POLL_SECONDS = 0.5
COLUMNS = "{:>7}  {:<8} {:<18} {:<9} {:<22} {}"


class DemoFailed(Exception):
    """A step did not do what it should; the message says what was seen."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and, when it is done, say how long it took."""
    print(f"\n\033[1m==> {title}\033[0m" if sys.stdout.isatty() else f"\n==> {title}", flush=True)
    start = time.monotonic()
    yield
    print(f"    done in {time.monotonic() - start:.1f} s", flush=True)


def say(text: str) -> None:
    """Print one indented line."""
    print(f"    {text}", flush=True)


def run(*command: str, show: bool = False, stdin: str | None = None) -> str:
    """Run a command to its end and return what it printed; a failure ends the demo with its last words."""
    if show:
        say("$ " + " ".join(command))
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
    if done.returncode != 0:
        raise DemoFailed(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip() or done.stdout}")
    return done.stdout


def follow_until_ready(kubectl: list[str], name: str, generation: int, timeout_seconds: float) -> dict[str, Any]:
    """Print a row whenever the ModelDeployment says something new, until it is Ready at `generation`."""
    say(COLUMNS.format("TIME", "READY", "REASON", "REPLICAS", "SERVES", "MESSAGE"))
    start, last = time.monotonic(), ""
    while time.monotonic() - start < timeout_seconds:
        body = json.loads(run(*kubectl, "get", "modeldeployment", name, "-o", "json"))
        status = body.get("status", {})
        ready = next((one for one in status.get("conditions", ()) if one["type"] == "Ready"), None)
        if ready is not None:
            row = _row(body, ready)
            if row != last:
                say(f"{time.monotonic() - start:6.1f}s  {row}")
                last = row
            if ready["status"] == "True" and status["observedGeneration"] >= generation:
                return dict(body)
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"ModelDeployment {name} was not Ready after {timeout_seconds:.0f} s; last: {last or 'no status'}")


def _row(body: dict[str, Any], ready: dict[str, Any]) -> str:
    status = body["status"]
    replicas = f"{status.get('readyReplicas', 0)}/{body['spec'].get('replicas', 1)}"
    serves = status.get("revision", {}).get("stable", "-")
    return COLUMNS.format("", ready["status"], ready["reason"], replicas, serves, ready["message"]).lstrip()
