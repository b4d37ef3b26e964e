"""What can happen to the demo ends in a paragraph; what is slow is waited for; what it started ends with it."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from devcluster.demo.console import DemoFailed, Witness, guide, look_at_model, retry_until, step
from devcluster.demo.ground import Background
from devcluster.demo.inference import wait_until_served
from devcluster.errors import CommandFailed, DevclusterError
from devcluster.processes import start_ticks
from devcluster.progress import Progress

ROOT = Path(__file__).parents[3]
TITLE = "Ask Triton"
LOOK = "kubectl describe mdep digits"
BURN = "while True: pass"
SLOW_SECONDS = 3.0


def failing(error):
    raise error


def one_step(act, seen=str):
    with step(TITLE, Witness(LOOK, seen)):
        act()


@contextmanager
def busy_machine():
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(2)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v2/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):
    def ServerReady(self, _request, _context):  # noqa: N802 - the protocol's name
        return service_pb2.ServerReadyResponse(ready=True)


@contextmanager
def address_that_answers_after(seconds, ports):
    """Refuses connections like a Service that kube-proxy has not programmed yet, then answers like Triton."""
    http, server = [], grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Triton(), server)

    def appear():
        http.append(ThreadingHTTPServer(("127.0.0.1", ports[0]), Ready))
        threading.Thread(target=http[0].serve_forever, daemon=True).start()
        time.sleep(seconds)
        server.add_insecure_port(f"127.0.0.1:{ports[1]}")
        server.start()

    timer = threading.Timer(seconds, appear)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        http[0].shutdown()
        http[0].server_close()
        server.stop(None)


def free_ports():
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Ready) for _ in range(2)]
    ports = tuple(each.server_address[1] for each in servers)
    for each in servers:
        each.server_close()
    return ports


def test_an_address_that_is_slow_to_answer_is_waited_for_on_a_busy_machine(capsys):
    ports = free_ports()

    with busy_machine(), address_that_answers_after(SLOW_SECONDS / 2, ports):
        code = guide(lambda: one_step(lambda: wait_until_served("127.0.0.1", ports)))

    assert code == 0, capsys.readouterr().err


def test_an_address_that_never_answers_fails_with_what_was_tried_and_seen(capsys):
    ports = free_ports()

    code = guide(lambda: one_step(lambda: wait_until_served("127.0.0.1", ports, seconds=1)))

    said = capsys.readouterr().err
    assert code == 1
    assert f'at step "{TITLE}"' in said
    assert f"http://127.0.0.1:{ports[0]}" in said
    assert "Connection refused" in said
    assert f"For details: {LOOK}" in said
    assert "To continue: make demo" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        TimeoutError("timed out"),
        subprocess.TimeoutExpired(["kubectl"], 300),
        InferenceServerException("failed to connect to all addresses"),
        json.JSONDecodeError("Expecting value", "", 0),
        CommandFailed("helm upgrade", 1, "context deadline exceeded"),
        DevclusterError("s3 ended by itself"),
        DemoFailed("answers differ"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "helm"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_expected_error_ends_in_a_paragraph(error, capsys):
    code = guide(lambda: one_step(lambda: failing(error), seen=lambda: "2 pods wait for a node"))

    said = capsys.readouterr().err
    assert code == 1
    assert f'at step "{TITLE}"' in said
    assert str(error).splitlines()[-1] in said
    assert "Now: 2 pods wait for a node" in said
    assert f"For details: {LOOK}" in said
    assert "Traceback" not in said


def test_a_mistake_in_the_program_keeps_its_traceback():
    with pytest.raises(TypeError):
        guide(lambda: one_step(lambda: failing(TypeError("a mistake"))))


def test_a_failure_is_reported_even_if_its_diagnosis_fails(capsys):
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    assert guide(lambda: one_step(lambda: failing(DemoFailed("no answer")), seen=lambda: failing(refused))) == 1

    said = capsys.readouterr().err
    assert "Seen: no answer" in said
    assert "nothing more: [Errno 111] Connection refused" in said


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/tmp/model.onnx"),
        CommandFailed("go build", 1, "compile: writing output: write $WORK/b1/_pkg_.a: no space left on device"),
    ],
    ids=["own write", "the compiler's words"],
)
def test_a_full_disk_is_named_with_its_free_bytes(error, capsys):
    assert guide(lambda: one_step(lambda: failing(error))) == 1

    assert "No space is left: /tmp" in (said := capsys.readouterr().err) or "tritonfleet has" in said
    assert "bytes free" in said


@pytest.mark.parametrize(
    "words",
    [
        'Get "https://proxy.golang.org/...": proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused',
        "module lookup disabled by GOPROXY=off",
    ],
)
def test_a_missing_network_is_named(words, capsys):
    assert guide(lambda: one_step(lambda: failing(CommandFailed("/usr/bin/go list -deps", 1, words)))) == 1

    assert "A download failed: the network" in capsys.readouterr().err


def test_a_cluster_that_cannot_be_used_is_named_with_its_step(tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho 'The connection to the server 10.0.0.1:6443 was refused' >&2\nexit 1\n")
    kubectl.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-m", "devcluster.demo", "--kubeconfig", "/home/me/config"],
        cwd=ROOT, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 1
    assert 'at step "Use the cluster of /home/me/config"' in done.stderr
    assert "10.0.0.1:6443 was refused" in done.stderr
    assert "For details: kubectl --kubeconfig /home/me/config" in done.stderr
    assert "To continue: make demo KUBECONFIG=/home/me/config" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interruption_is_one_sentence_and_says_where(capsys):
    assert guide(lambda: one_step(lambda: failing(KeyboardInterrupt()))) == 130

    said = capsys.readouterr().err.strip()
    assert said == f'The demo was interrupted at step "{TITLE}"; `make demo` resumes where it stopped.'


def test_what_fails_because_it_was_interrupted_is_an_interruption(capsys):
    def k6_ends_badly():
        try:
            raise KeyboardInterrupt
        finally:
            failing(DevclusterError("k6 ended with 130"))

    assert guide(lambda: one_step(k6_ends_badly)) == 130
    assert TITLE in capsys.readouterr().err


def test_patience_ends_with_the_first_success():
    answers = iter([OSError("not yet"), DemoFailed("not yet"), None])

    assert retry_until("it", lambda: failing(error) if (error := next(answers)) else "here", 60) == "here"


@contextmanager
def background(tmp_path, script):
    """A real background process in the place of a build."""
    made = Background("build-later", ["coredns"], niceness=19, logs=tmp_path)
    made._start(["nice", "-n", "19", "sh", "-c", script])
    try:
        yield made
    finally:
        made.end()


def test_a_background_build_is_ended_with_its_children_at_the_lowest_priority(tmp_path):
    with background(tmp_path, "sleep 600 & echo $!; wait") as build:
        while not build.log.read_text().strip():
            time.sleep(0.02)
        child = int(build.log.read_text())
        assert os.getpriority(os.PRIO_PROCESS, child) == 19
        assert os.getsid(child) == os.getsid(0)

    assert start_ticks(child) is None
    assert start_ticks(build._process.pid) is None


def test_a_failed_background_build_is_reported_with_the_end_of_its_output(tmp_path, capsys):
    def act():
        with background(tmp_path, "echo '[  1.2s] (1/1) building coredns'; echo 'no required module'; exit 1") as build:
            build.wait(Progress(stream=sys.stdout))

    assert guide(lambda: one_step(act)) == 1
    assert "no required module" in capsys.readouterr().err


def test_a_background_build_that_is_through_is_not_waited_for(tmp_path):
    with background(tmp_path, "true") as build:
        build.wait(Progress(stream=sys.stderr))


POD = {
    "metadata": {"name": "digits-1"},
    "status": {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu"}],
        "containerStatuses": [
            {
                "name": "triton",
                "ready": False,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": {"reason": "Error", "message": "failed to load 'digits'"}},
            }
        ],
    },
}
EVENT = {"involvedObject": {"name": "digits-1"}, "reason": "Unhealthy", "message": "probe failed: 400"}
MODEL = {
    "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "PodsNotReady", "message": "0 of 2"}]}
}


def test_a_model_that_is_not_ready_is_seen_by_its_condition_its_pods_and_their_events(tmp_path):
    kubectl = tmp_path / "kubectl"
    answers = {"mdep": MODEL, "pods": {"items": [POD]}, "events": {"items": [EVENT]}}
    for kind, answer in answers.items():
        (tmp_path / kind).write_text(json.dumps(answer))
    kubectl.write_text(f'#!/bin/sh\ncat "{tmp_path}/$2"\n')
    kubectl.chmod(0o755)

    seen = look_at_model([str(kubectl)], "digits")

    for words in ("Ready=False PodsNotReady: 0 of 2", "Insufficient cpu", "CrashLoopBackOff", "failed to load 'digits'",
                  "digits-1: Unhealthy: probe failed: 400"):  # fmt: skip
        assert words in seen
