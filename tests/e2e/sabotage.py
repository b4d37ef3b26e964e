"""What is done to a pod from outside: its metrics port cut off or taken over, its server killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devcluster.cluster import Cluster
from devcluster.commands import run

METRICS_PORT = 8002
IMPOSTOR_PORT = 18002
TABLE = "inet sabotage"


@contextmanager
def impostor(cluster: Cluster, pod: dict[str, Any], kind: str) -> Iterator[None]:
    """Answer in Triton's place whoever asks the pod for its metrics, as `impostor.ANSWERS[kind]` does."""
    server = subprocess.Popen(
        inside(cluster, pod, sys.executable, str(Path(__file__).with_name("impostor.py")), kind, str(IMPOSTOR_PORT))
    )
    try:
        with rule(cluster, pod, "nat", f"tcp dport {METRICS_PORT} redirect to :{IMPOSTOR_PORT}"):
            yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def unreachable(cluster: Cluster, pod: dict[str, Any]) -> Iterator[None]:
    """Swallow whatever is sent to the pod's metrics port; its clients notice nothing."""
    with rule(cluster, pod, "filter", f"tcp dport {METRICS_PORT} drop"):
        yield


def kill_server(cluster: Cluster, pod: dict[str, Any]) -> None:
    """End the pod's Triton as a crash would; its container starts anew and counts from zero."""
    os.kill(process_of(cluster, pod, "triton"), signal.SIGKILL)


@contextmanager
def rule(cluster: Cluster, pod: dict[str, Any], kind: str, words: str) -> Iterator[None]:
    """Add one rule to the pod's own network namespace while the block runs; connections of before obey it too."""
    chain = f"{{ type {kind} hook prerouting priority -100; {words}; }}"
    run(*inside(cluster, pod, "nft", f"table {TABLE} {{ chain arriving {chain}; }}"))
    try:
        yield
    finally:
        # The pod may have gone meanwhile, and its namespace with it.
        run(*inside(cluster, pod, "nft", "delete", "table", *TABLE.split()), check=False)


def inside(cluster: Cluster, pod: dict[str, Any], *command: str) -> list[str]:
    """Return the command as it is run in the pod's network namespace."""
    return ["nsenter", f"--net=/proc/{process_of(cluster, pod, 'http')}/ns/net", "--", *command]


def process_of(cluster: Cluster, pod: dict[str, Any], container: str) -> int:
    """Return the host's process id of a container's first process."""
    statuses = {one["name"]: one for one in pod["status"]["containerStatuses"]}
    identity = statuses[container]["containerID"].removeprefix("containerd://")
    tasks = (line.split() for line in cluster.containerd.ctr("tasks", "ls").splitlines())
    return next(int(words[1]) for words in tasks if words[0] == identity)
