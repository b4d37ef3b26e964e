"""What `tritonfleet explain` can be told."""

import argparse

from tritonfleet.cli import amounts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options, named as kubectl names them."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the ModelDeployment")
    add("-n", "--namespace", metavar="NAME", help="its namespace; default: the one that kubectl would use")
    add("--context", metavar="NAME", help="which cluster of the kubeconfig; default: the current one")
    add("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, else ~/.kube/config; in a pod, its account")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    shape.add_argument("-w", "--watch", action="store_true", help="stay and follow it, with the last minutes drawn")
    add(
        "--interval",
        type=amounts.seconds,
        default=2.0,
        metavar="TIME",
        help="how often --watch looks (default 2s)",
    )
