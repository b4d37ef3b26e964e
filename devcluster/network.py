"""The network namespace of a cluster and the veth pair that joins it to the host."""

from devcluster.commands import run, succeeds
from devcluster.slots import Slot


def up(slot: Slot) -> bool:
    """Make whatever is missing; returns whether the namespace itself had to be made anew.

    The host gets one link and two routes; its own rules are never touched.
    """
    fresh = not succeeds(*slot.enter("true"))
    if fresh:
        down(slot)
        run("ip", "netns", "add", slot.namespace)
    if not _joined(slot):
        _join(slot)
    return fresh


def down(slot: Slot) -> None:
    """Remove the namespace and the veth pair; no error if they are not there."""
    run("ip", "netns", "delete", slot.namespace, check=False)
    # A process that still holds the namespace would keep the pair alive: remove it by name as well.
    run("ip", "link", "delete", slot.host_link, check=False)
    if slot.namespace_file.exists():
        slot.namespace_file.unlink()


def _joined(slot: Slot) -> bool:
    routes = run("ip", "-4", "route", "show", "dev", slot.host_link, check=False).stdout
    inner = run(*slot.enter("ip", "-4", "route"), check=False).stdout
    wanted = (slot.link_range, slot.service_range, slot.pod_range)
    return all(each in routes for each in wanted) and f"default via {slot.host_address}" in inner


def _join(slot: Slot) -> None:
    run("ip", "link", "delete", slot.host_link, check=False)
    run("ip", "link", "add", slot.host_link, "type", "veth", "peer", "name", slot.inner_link)
    run("ip", "link", "set", slot.inner_link, "netns", slot.namespace)
    run("ip", "address", "add", f"{slot.host_address}/30", "dev", slot.host_link)
    run("ip", "link", "set", slot.host_link, "up")
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", f"{slot.address}/30", "dev", slot.inner_link),
        ("ip", "link", "set", slot.inner_link, "up"),
        # The API server and pods on the host network insist on a default route.
        ("ip", "route", "replace", "default", "via", slot.host_address),
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
    ):
        run(*slot.enter(*command))
    for destination in (slot.service_range, slot.pod_range):
        run("ip", "route", "replace", destination, "via", slot.address, "dev", slot.host_link)
