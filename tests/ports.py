"""Ports for servers that must be told theirs before they start."""

import random
import socket

PORTS = range(20_000, 30_000)
"""Below those that outgoing connections take: nobody gets one of these unless they ask for it."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    # Not the seeded generator: every worker of pytest-xdist would draw the same numbers.
    dice = random.SystemRandom()
    while True:
        port = dice.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
