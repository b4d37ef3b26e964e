"""Clusters of their own for these tests: beside the checkout's, as another checkout's would be."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster import slots
from devcluster.paths import State
from devcluster.processes import Registry

ROOT = Path(__file__).parents[2]


@dataclass
class Checkout:
    """What a user of a second checkout types, and what they see."""

    state: State

    def run(self, *arguments, check=True):
        env = {**os.environ, "TRITONFLEET_DEVCLUSTER_STATE": str(self.state.root)}
        done = subprocess.run(
            [sys.executable, "-m", "devcluster", *arguments],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def up(self):
        return self.run("up", "--no-triton")

    @property
    def slot(self):
        return slots.current(self.state)

    @property
    def registry(self):
        return Registry(self.slot.run_dir / "processes", self.state.logs)

    def kubectl(self, *arguments, stdin=None):
        program = self.run("tool", "kubectl").stdout.strip()
        return subprocess.run(
            [program, "--kubeconfig", self.state.kubeconfig, *arguments],
            input=stdin, capture_output=True, text=True, check=True, timeout=900,
        ).stdout  # fmt: skip

    def start_pods(self, name, replicas, gpus=0):
        limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
        container = {
            "name": "pause",
            "image": "docker.io/tritonfleet/pause:1",
            "resources": {"limits": limits},
            "volumeMounts": [{"name": "memory", "mountPath": "/memory"}],
        }
        labels = {"app": name}
        pod = {"containers": [container], "volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}]}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


@pytest.fixture(scope="module")
def checkout():
    folder = Path(tempfile.mkdtemp(prefix="tritonfleet-"))
    other = Checkout(State(folder))
    yield other
    other.run("down", "--purge")
    shutil.rmtree(folder)
