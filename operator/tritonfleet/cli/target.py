"""The options that name a ModelDeployment and its cluster, as kubectl names them."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add them; this imports no Kubernetes client."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the ModelDeployment")
    add("-n", "--namespace", metavar="NAME", help="its namespace; default: the one that kubectl would use")
    add("--context", metavar="NAME", help="which cluster of the kubeconfig; default: the current one")
    add("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, else ~/.kube/config; in a pod, its account")
