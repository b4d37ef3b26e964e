"""What the pods of the benchmark report: a real page of Triton 2.51, its counters moved by made-up traffic."""

import math
from pathlib import Path
from typing import Final

REPLICAS: Final = 5
_PAGE: Final = (Path(__file__).parent / "page.txt").read_text()
_ALPHA_US: Final = 10_000.0
_BETA_US: Final = 1_000.0
_PERIOD_SECONDS: Final = 600.0


def model(number: int) -> str:
    """Return the name of a ModelDeployment, which is its model's too."""
    return f"m{number:04d}"


def pod_address(pod: int) -> str:
    """Return the loopback address of one pod; there are 65,536 of them in 127.1.0.0/16."""
    return f"127.1.{pod >> 8}.{pod & 255}"


def pod_of(address: str) -> int:
    """Return the pod of an address."""
    _, _, high, low = address.split(".")
    return int(high) << 8 | int(low)


def page(pod: int, seconds: float) -> bytes:
    """Return what a pod reports `seconds` after it started: 10 to 110 requests per second, in waves."""
    mean = 10.0 + 2.0 * (pod // REPLICAS % 50)
    wave = math.sin(2 * math.pi * seconds / _PERIOD_SECONDS) * _PERIOD_SECONDS / (4 * math.pi)
    success = mean * (seconds + wave)
    batch = 1.0 + mean / 30
    service_us = _ALPHA_US + _BETA_US * batch
    values = {
        "model": model(pod // REPLICAS),
        "success": int(success),
        "executions": int(success / batch),
        "request_us": int(success * service_us * 1.6),
        "queue_us": int(success * service_us * 0.6),
        "compute_us": int(success * service_us),
    }
    text = _PAGE
    for name, value in values.items():
        text = text.replace(f"<{name}>", str(value))
    return text.encode()
