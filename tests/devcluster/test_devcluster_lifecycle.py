"""A real cluster comes up, mends itself and goes, and nothing of it stays."""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from devcluster import cluster, slots
from devcluster.processes import start_ticks


def lines_of(*command):
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def traces_of(slot, state):
    """Everything on this machine that names the cluster or runs inside it."""
    names = (slot.namespace, slot.host_link, f"{state.root}/", f"{slot.run_dir}/", slot.service_range, slot.pod_range)
    listings = {
        "mount": lines_of("mount"),
        "namespace": lines_of("ip", "netns"),
        "link": lines_of("ip", "link"),
        "route": lines_of("ip", "route"),
        "rule": lines_of("nft", "list", "ruleset"),
        "socket": lines_of("ss", "-xlH"),
        "plugin note": {str(path) for path in Path("/var/lib/cni").rglob("*")},
        "log link": {str(path.readlink()) for path in Path("/var/log/containers").glob("*")},
    }
    found = [f"{kind}: {line}" for kind, lines in listings.items() for line in lines if any(n in line for n in names)]
    found += [f"cgroup: {path}" for path in Path("/sys/fs/cgroup").glob(f"*{slot.cgroup}")]
    return found + [f"process: {line}" for line in processes_of(slot, state)]


def processes_of(slot, state):
    own = slot.namespace_file.stat().st_ino if slot.namespace_file.exists() else None
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            groups = (folder / "cgroup").read_text()
            network = (folder / "ns" / "net").stat().st_ino
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        mine = f"{state.root}/" in command or f"{slot.run_dir}/" in command or f"{slot.cgroup}/" in groups
        if mine or network == own:
            yield f"{folder.name} {command}"


def bare_listings():
    """The host's own links, namespaces and rules, less those of clusters that other tests use."""
    listings = (*lines_of("ip", "-brief", "link"), *lines_of("ip", "netns"), *lines_of("nft", "list", "ruleset"))
    return {line for line in listings if "tfleet" not in line and "tritonfleet" not in line}


def test_twice_up_and_down_leaves_nothing_behind(checkout):
    before = bare_listings()
    for _ in range(2):
        checkout.up()
        slot = checkout.slot
        checkout.start_pods("leaving", replicas=4)
        checkout.kubectl("rollout", "status", "deployment/leaving", "--timeout=300s")
        assert {line.split(":")[0] for line in traces_of(slot, checkout.state)} >= {"mount", "namespace", "process"}

        checkout.run("down")

        assert traces_of(slot, checkout.state) == []
        assert not slot.run_dir.exists()
        assert bare_listings() == before


def test_up_does_nothing_to_a_healthy_cluster(checkout):
    checkout.run("down")
    from_nothing = seconds_of(checkout.up)
    before = {name: checkout.registry.find(name)[0] for name in checkout.registry.names()}

    again = seconds_of(checkout.up)

    assert {name: checkout.registry.find(name)[0] for name in checkout.registry.names()} == before
    assert again < from_nothing / 2


def seconds_of(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


@pytest.mark.parametrize("name", cluster.PROCESSES)
def test_up_mends_a_cluster_whose_part_was_killed(checkout, name):
    checkout.up()
    os.kill(checkout.registry.find(name)[0].pid, signal.SIGKILL)
    assert checkout.run("status", check=False).returncode == 1

    checkout.up()

    assert checkout.run("status").returncode == 0
    checkout.start_pods(f"after-{name}", replicas=1)
    checkout.kubectl("rollout", "status", f"deployment/after-{name}", "--timeout=300s")


def test_pods_return_after_the_network_namespace_was_deleted(checkout):
    checkout.up()
    checkout.start_pods("stranded", replicas=1)
    checkout.kubectl("rollout", "status", "deployment/stranded", "--timeout=300s")
    subprocess.run(["ip", "netns", "delete", checkout.slot.namespace], check=True)

    checkout.up()

    # The old status says available until the new kubelet has looked: a new pod proves the node works.
    checkout.kubectl("rollout", "restart", "deployment/stranded")
    checkout.kubectl("rollout", "status", "deployment/stranded", "--timeout=300s")


def test_the_host_reaches_a_service_address(checkout):
    checkout.up()
    tls = ssl.create_default_context(cafile=checkout.state.pki / "ca.crt")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))

    with opener.open(f"https://{checkout.slot.service_address(1)}:443/healthz", timeout=60) as answer:
        assert answer.read() == b"ok"


def test_the_node_has_as_many_gpus_as_asked_for_and_no_more(checkout):
    checkout.run("up", "--no-triton", "--gpus", "2")
    checkout.start_pods("greedy", replicas=3, gpus=1)
    query = "jsonpath={.items[*].status.conditions[?(@.reason=='Unschedulable')].message}"
    deadline = time.monotonic() + 300
    while "Insufficient nvidia.com/gpu" not in (
        said := checkout.kubectl("get", "pods", "-l", "app=greedy", "-o", query)
    ):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)

    assert said.count("Insufficient nvidia.com/gpu") == 1
    checkout.kubectl("wait", "deployment/greedy", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=300s")
    labels = json.loads(checkout.kubectl("get", "node", "node-0", "-o", "json"))["metadata"]["labels"]
    assert labels["nvidia.com/gpu.count"] == "2"
    checkout.kubectl("delete", "deployment", "greedy", "--cascade=foreground")
    checkout.run("up", "--no-triton", "--gpus", "8")


def test_two_clusters_at_once_share_no_address_and_no_process(checkout):
    checkout.up()
    mine = cluster.ensure()

    assert mine.slot != checkout.slot
    owned = {line.split()[0] for line in processes_of(mine.slot, mine.state)}
    assert owned.isdisjoint(line.split()[0] for line in processes_of(checkout.slot, checkout.state))
    assert mine.api.healthy()


def test_a_cluster_that_is_down_is_reported(checkout):
    checkout.run("down")

    assert checkout.run("status", check=False).stdout == "down\n"
    refused = checkout.run("load-image", "whatever.tar", check=False)
    assert refused.returncode == 1
    assert "run `make cluster`" in refused.stderr
    assert slots.current(checkout.state) is None
    assert start_ticks(os.getpid()) is not None
