"""Triton's ports, by the name they have in pods and Services."""

from typing import Final

PORTS: Final = {"http": 8000, "grpc": 8001, "metrics": 8002}
