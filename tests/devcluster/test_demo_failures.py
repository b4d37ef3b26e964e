"""`make demo` on machines on which something is wrong: it says at which step, what it saw, and how to go on."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import cluster, release
from devcluster.addons.s3 import Store
from devcluster.demo.console import follow_until_ready, guide, step
from devcluster.demo.ground import Background, LocalGround, of_model
from devcluster.paths import cache_dir
from devcluster.progress import Progress

ROOT = Path(__file__).parents[2]
KUBERNETES = "Start a real Kubernetes on this machine"
BIND = 'import socket, sys; server = socket.create_server((sys.argv[1], 9000)); print("bound", flush=True); input()'
CLOSED = "http://127.0.0.1:9"


def environment(folder, **settings):
    """Of a machine that has neither built nor downloaded anything, but for what `settings` name."""
    fresh = {
        "XDG_CACHE_HOME": folder / "cache",
        "GOMODCACHE": folder / "modules",
        "GOFLAGS": "-modcacherw",
        "TRITONFLEET_DEVCLUSTER_STATE": folder / "state",
    }
    known = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return {**known, **{name: str(value) for name, value in {**fresh, **settings}.items()}}


def demo(env):
    return subprocess.run(
        [sys.executable, "-m", "devcluster.demo"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def assert_is_a_guide(done, title, *words):
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert f'The demo stopped at step "{title}' in said
    for each in (*words, "For details: ", "To continue: make demo"):
        assert each in said
    assert "Traceback" not in said


@contextmanager
def tiny_disk(folder, options):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def processes_of_session(session):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield folder.name


@pytest.mark.parametrize(
    "settings",
    [
        {"GOPROXY": "off"},
        {"GOPROXY": "https://proxy.golang.org", "GONOPROXY": "none", "HTTPS_PROXY": CLOSED, "https_proxy": CLOSED},
    ],
    ids=["no module proxy", "a proxy that refuses"],
)
def test_without_a_network_the_demo_names_it(tmp_path, settings):
    done = demo(environment(tmp_path, **settings))

    assert_is_a_guide(done, KUBERNETES, "A download failed: the network", "go list")


def test_a_part_that_cannot_be_downloaded_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "devcluster", "build", "coredns"],
        cwd=ROOT, env=environment(tmp_path, GOPROXY="off"), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 1
    assert "A download failed: the network" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_full_disk_the_demo_names_the_folder(tmp_path):
    with tiny_disk(tmp_path / "cache", "size=64k,nr_inodes=2") as folder:
        done = demo(environment(tmp_path, GOPROXY="off"))

        assert_is_a_guide(done, KUBERNETES, "No space is left: ", f"{folder}/tritonfleet", "bytes free")


def test_a_compiler_without_room_is_understood(tmp_path):
    go_cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    with tiny_disk(tmp_path / "cache", "size=256k") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "devcluster", "build", "pause"],
            cwd=ROOT, env=environment(tmp_path, GOCACHE=go_cache),
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

        assert done.returncode == 1
        assert f"No space is left: {folder}/tritonfleet has" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_interrupted_demo_ends_its_builds_and_says_how_to_go_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "devcluster.demo"],
            cwd=ROOT, env=environment(tmp_path, GOPROXY=proxy, GONOSUMDB="*"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        # The build in front and the one in the background both wait for an answer.
        waiting = [silent.accept()[0] for _ in range(2)]
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        for each in waiting:
            each.close()

    assert process.returncode == 130, said
    assert f'interrupted at step "{KUBERNETES}' in said
    assert "`make demo` continues" in said
    assert "Traceback" not in said
    assert list(processes_of_session(process.pid)) == []


def test_a_background_build_is_no_longer_the_last_once_it_is_waited_for(tmp_path):
    build = Background("build-later", ["coredns"], niceness=19, logs=tmp_path)
    last = 'echo begun; while [ "$(ps -o ni= $$ | tr -d " ")" = 19 ]; do sleep 0.1; done'
    build._start(["nice", "-n", "19", "sh", "-c", last])
    try:
        while not build.log.read_text():
            time.sleep(0.02)
        build.wait(Progress())
    finally:
        build.end()


def test_a_taken_port_is_reported_with_the_error_of_the_server(checkout):
    checkout.up()
    inside = ["ip", "netns", "exec", checkout.slot.namespace]
    other = subprocess.Popen(
        [*inside, sys.executable, "-c", BIND, checkout.slot.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "bound\n"
        state = checkout.state.root
        done = demo(
            {**environment(state, XDG_CACHE_HOME=cache_dir().parent), "TRITONFLEET_DEVCLUSTER_STATE": str(state)}
        )
    finally:
        other.kill()
        other.communicate()

    assert_is_a_guide(done, "Start an S3 server for models", "s3 ended by itself", "in use", "devcluster logs s3")


def test_a_dead_api_server_is_found_while_a_model_is_waited_for(checkout, tmp_path, monkeypatch, capsys):
    checkout.up()
    monkeypatch.setenv("TRITONFLEET_DEVCLUSTER_STATE", str(checkout.state.root))
    found = cluster.find()
    assert found is not None
    ground = LocalGround(found, Store("", "", ""), tmp_path, Background("unused", []))
    definitions = [word for path in sorted((ROOT / "crds").glob("*.yaml")) for word in ("-f", str(path))]
    checkout.kubectl("apply", "--server-side", *definitions)
    checkout.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
    checkout.kubectl("apply", "-f", str(ROOT / "examples" / "quickstart" / "modeldeployment.yaml"))
    server = checkout.registry.find("kube-apiserver")[0]
    killer = threading.Timer(1.0, server.signal, [signal.SIGKILL])

    def wait_for_the_model():
        with step("Serve a model", of_model(ground, "digits")):
            killer.start()
            follow_until_ready(ground.kubectl, "digits", generation=1, timeout_seconds=240)

    code = guide(wait_for_the_model)
    killer.join()

    said = capsys.readouterr().err
    assert code == 1
    assert 'at step "Serve a model"' in said
    assert "kube-apiserver: not running" in said
    assert f"For details: {shlex.join([*ground.kubectl, 'describe', 'modeldeployment', 'digits'])}" in said
    assert "To continue: make demo" in said
    assert "Traceback" not in said


def test_an_installation_that_was_killed_does_not_stop_the_next_one(checkout, monkeypatch):
    checkout.up()
    monkeypatch.setenv("TRITONFLEET_DEVCLUSTER_STATE", str(checkout.state.root))
    found = cluster.find()
    assert found is not None
    there = ("--namespace", release.NAMESPACE)
    checkout.kubectl("create", "namespace", release.NAMESPACE)
    for status in ("deployed", "pending-upgrade"):
        checkout.kubectl(*there, "create", "secret", "generic", status)
        labels = ("owner=helm", f"name={release.RELEASE}", f"status={status}")
        checkout.kubectl(*there, "label", "secret", status, *labels)

    found.forget_interrupted(release.RELEASE, release.NAMESPACE)

    assert checkout.kubectl(*there, "get", "secrets", "-l", "owner=helm", "-o", "name").split() == ["secret/deployed"]
