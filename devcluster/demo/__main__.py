"""`make demo`: from an empty machine to predictions from Triton on Kubernetes, autoscaling and rollouts."""

import signal

# Importing takes seconds, and there is nothing to say about an import that was interrupted: end at once and quietly.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import sys
import time
from pathlib import Path

from devcluster.demo import plot
from devcluster.demo.console import format_duration, guide, say, step
from devcluster.demo.ground import Ground, LocalGround, existing_ground, local_ground, of_gateway, of_model, of_operator
from devcluster.demo.rollout import NAME as RECOMMENDER
from devcluster.demo.rollout import roll_out
from devcluster.demo.show import NAME as DIGITS
from devcluster.demo.show import ask_and_check, next_steps, serve, train_and_upload, update_under_load
from devcluster.demo.traffic import NAME as RANKER
from devcluster.demo.traffic import OUTPUT, follow_traffic
from devcluster.progress import Progress


def main() -> int:
    """Run the demo and return the exit code: 0 only if every step did what it should."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=os.environ.get("KUBECONFIG") or None,
        help="use this cluster instead of a local one",
    )
    kubeconfig: Path | None = parser.parse_args().kubeconfig
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An ordinary exit: what was started in the background ends too. Under nohup nothing is to happen.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    return guide(lambda: _demo(kubeconfig), f"make demo KUBECONFIG={kubeconfig}" if kubeconfig else "make demo")


def _demo(kubeconfig: Path | None) -> None:
    began = time.monotonic()
    with existing_ground(kubeconfig) if kubeconfig else local_ground() as ground:
        _predict(ground, began)
        if isinstance(ground, LocalGround):
            # A forwarded port leads to one pod, whatever comes to help it: these need the Service itself.
            _meet_traffic(ground)
        next_steps(ground)
    say(f"the whole demo took {format_duration(time.monotonic() - began)}")


def _predict(ground: Ground, began: float) -> None:
    digits = of_model(ground, DIGITS)
    with step("Install the operator with Helm", of_operator(ground)):
        ground.install_operator()
    with step("Train a model on real handwritten digits, export it to ONNX, upload it", ground.store_witness):
        model = train_and_upload(ground)
    with step("kubectl apply -f examples/quickstart/modeldeployment.yaml", digits):
        serve(ground)
    with step("Send requests over HTTP and gRPC, and compare with the same model run directly", digits):
        ask_and_check(ground, model)
        say(f"first prediction after {format_duration(time.monotonic() - began)}")
    with step("Change the batching under traffic", digits):
        update_under_load(ground, model)


def _meet_traffic(ground: LocalGround) -> None:
    with step("Build Prometheus, a gateway and k6 (started in the background)", ground.later.witness):
        ground.later.wait(Progress())
    with step("Start Prometheus and a gateway, and configure the operator", of_gateway(ground)):
        ground.prepare_for_traffic()
    with step(
        "kubectl apply -f examples/autoscaling/modeldeployment.yaml, and vary the traffic (5 minutes)",
        of_model(ground, RANKER),
    ):
        for path in plot.write_autoscaling(follow_traffic(ground), OUTPUT):
            say(f"written: {path}")
    with step(
        "kubectl apply -f examples/canary, then roll out a good and a bad version (4 minutes)",
        of_model(ground, RECOMMENDER),
    ):
        for path in plot.write_rollout(roll_out(ground), OUTPUT):
            say(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
