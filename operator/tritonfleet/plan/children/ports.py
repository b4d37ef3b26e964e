"""The ports of a pod, by the name they have in pods and Services."""

from typing import Final

PORTS: Final = {"http": 8000, "grpc": 8001, "metrics": 8002}
TRITON_HTTP_PORT: Final = 8010
"""Where Triton itself speaks HTTP, behind the proxy."""
