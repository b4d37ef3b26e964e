"""The acts of the demo, each on a ground that is ready for it."""

import json
import runpy
from pathlib import Path

import numpy as np

from devcluster.demo.console import DemoFailed, follow_until_ready, run, say
from devcluster.demo.ground import Ground, delete_leftovers, wait_until_old_pods_are_gone
from devcluster.demo.inference import TOLERANCE, Load, directly, over_grpc, over_http

QUICKSTART = Path("examples/quickstart")
NAME = "digits"
READY_SECONDS_MAX = 600.0
SHADES = " .:-=+*#%@"


def train_and_upload(ground: Ground) -> Path:
    """Train the quickstart's model and put it where its manifest says; return the local file."""
    model = ground.workspace / "model.onnx"
    accuracy = runpy.run_path(str(QUICKSTART / "train.py"))["train"](model)
    say(
        f"{accuracy:.1%} of the held-out images are classified correctly; {model.stat().st_size / 1024:.0f} KiB of ONNX"
    )
    ground.upload(model, "models/digits/1/model.onnx")
    say("uploaded to s3://models/digits/1")
    return model


def serve(ground: Ground) -> None:
    """Apply the quickstart and follow it until it is Ready."""
    delete_leftovers(ground, NAME)
    say(run(*ground.kubectl, "apply", "-f", str(QUICKSTART / "modeldeployment.yaml")).strip())
    follow_until_ready(ground.kubectl, NAME, generation=1, timeout_seconds=READY_SECONDS_MAX)


def ask_and_check(ground: Ground, model: Path) -> None:
    """Send held-out images over both protocols; any answer that differs from the model's own ends the demo."""
    images, digits = _held_out()
    expected = directly(model)(images)
    with ground.service_address(NAME) as host:
        for protocol, predict in (("HTTP", over_http(host)), ("gRPC", over_grpc(host))):
            answers = np.concatenate([predict(images[row : row + 8]) for row in range(0, len(images), 8)])
            worst = float(np.abs(answers - expected).max())
            if worst > TOLERANCE:
                raise DemoFailed(f"{protocol} answers differ from the model's own by up to {worst:g}")
            right = int((answers.argmax(axis=1) == digits).sum())
            say(
                f"{protocol}: {len(images)} images, equal to the model run directly (within {worst:.1g}), {right} right"
            )
        _draw(images[0], answers[0])


def update_under_load(ground: Ground, model: Path) -> None:
    """Halve the queue delay and double the batch size while both protocols are in use; no request may fail."""
    images, _ = _held_out()
    change = {"spec": {"batching": {"maxBatchSize": 32, "dynamic": {"maxQueueDelay": "500us"}}}}
    with (
        ground.service_address(NAME) as host,
        Load(
            {"HTTP": lambda: over_http(host), "gRPC": lambda: over_grpc(host)}, images, directly(model)(images)
        ) as load,
    ):
        say(run(*ground.kubectl, "patch", "mdep", NAME, "--type=merge", "-p", json.dumps(change)).strip())
        body = follow_until_ready(ground.kubectl, NAME, generation=2, timeout_seconds=READY_SECONDS_MAX)
        serving = body["status"]["revision"]["stable"].rpartition("-")[2]
        say("sending requests until the old pods are gone")
        wait_until_old_pods_are_gone(ground, NAME, serving)
    say(
        ", ".join(f"{count} {protocol}" for protocol, count in load.sent.items())
        + f" requests, {len(load.failures)} failed"
    )
    if load.failures:
        raise DemoFailed(f"requests failed during the update, the first: {load.failures[0]}")


def next_steps(ground: Ground) -> None:
    """Say what to try now that a model serves."""
    kubectl = " ".join(ground.kubectl)
    print(f"""
Next steps
    {kubectl} get mdep
    {kubectl} describe mdep {NAME}
    {kubectl} explain mdep.spec.batching --recursive
    {kubectl} patch mdep {NAME} --type=merge -p '{{"spec": {{"replicas": 3}}}}'
    {kubectl} patch mdep {NAME} --type=merge -p '{{"spec": {{"model": {{"uri": "s3://models/nothing-here"}}}}}}'
        (the old revision keeps serving, and the status explains why the new one does not)
{ground.farewell}""")


def _held_out() -> tuple[np.ndarray, np.ndarray]:
    _, images, _, digits = runpy.run_path(str(QUICKSTART / "train.py"))["digits"]()
    return images[:64], digits[:64]


def _draw(image: np.ndarray, probabilities: np.ndarray) -> None:
    say(f"one of them, read as {probabilities.argmax()} with probability {probabilities.max():.3f}:")
    for row in image.reshape(8, 8):
        say("    " + "".join(SHADES[min(9, int(grey * 10 / 17))] * 2 for grey in row))
