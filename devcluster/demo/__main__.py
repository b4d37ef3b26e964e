"""`make demo`: from an empty machine to predictions from Triton on Kubernetes, to replicas that follow, to rollouts."""

import argparse
import os
import sys
from pathlib import Path

from devcluster.demo import plot, timeline
from devcluster.demo.console import DemoFailed, say, step
from devcluster.demo.ground import Ground, existing_ground, local_ground
from devcluster.demo.rollout import roll_out
from devcluster.demo.show import ask_and_check, next_steps, serve, train_and_upload, update_under_load
from devcluster.demo.traffic import OUTPUT, follow_traffic
from devcluster.errors import DevclusterError


def main() -> int:
    """Run the demo and return the exit code: 0 only if every step did what it should."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=os.environ.get("KUBECONFIG") or None,
        help="use this cluster instead of a local one",
    )
    arguments = parser.parse_args()
    try:
        ground = existing_ground(arguments.kubeconfig) if arguments.kubeconfig else local_ground()
        _show(ground)
    except (DemoFailed, DevclusterError) as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    return 0


def _show(ground: Ground) -> None:
    with step("Install the operator with Helm"):
        ground.install_operator()
    with step("Train a model on real handwritten digits, export it to ONNX, upload it"):
        model = train_and_upload(ground)
    with step("kubectl apply -f examples/quickstart/modeldeployment.yaml"):
        serve(ground)
    with step("Ask Triton over HTTP and gRPC, and compare with the same model run directly"):
        ask_and_check(ground, model)
    with step("Change the batching while requests keep coming"):
        update_under_load(ground, model)
    if ground.reaches_services:
        with step(
            "kubectl apply -f examples/autoscaling/modeldeployment.yaml, and let traffic come and go (5 minutes)"
        ):
            for path in plot.write(follow_traffic(ground), OUTPUT):
                say(f"written: {path}")
        with step("kubectl apply -f examples/canary, then a good version and a bad one (4 minutes)"):
            for path in timeline.write(roll_out(ground), OUTPUT):
                say(f"written: {path}")
    next_steps(ground)


if __name__ == "__main__":
    sys.exit(main())
