"""Requests to the digits model over both protocols, checked against the same model run directly."""

import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from devcluster.demo.console import DemoFailed, retry_until

MODEL = "digits"
TOLERANCE = 1e-5
"""Both sides run the same ONNX Runtime; batches only change the order of additions."""

PORTS = (8000, 8001)
"""Of HTTP and gRPC."""
_NO_PROXY = ("grpc.enable_http_proxy", 0)
SERVED_SECONDS_MAX = 120.0
"""Ready pods are in the Service at once, but a busy node takes its time to program the Service's address."""
ATTEMPT_SECONDS_MAX = 5.0

Images = np.ndarray
Probabilities = np.ndarray
Predict = Callable[[Images], Probabilities]


def wait_until_served(
    address: str, ports: tuple[int, int] = PORTS, *, host: str = "", seconds: float = SERVED_SECONDS_MAX
) -> None:
    """Wait until an address answers over HTTP and gRPC; `host` is what requests say that they come for."""
    named = host or address
    retry_until(f"http://{named}:{ports[0]} at {address}", lambda: _http_ready(address, ports[0], named), seconds)
    retry_until(f"gRPC of {named}:{ports[1]} at {address}", lambda: _grpc_ready(address, ports[1], named), seconds)


def directly(model: Path) -> Predict:
    """Return a function that runs the model in this process."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"X": images})[0])


def over_http(host: str) -> Predict:
    """Return a function that asks Triton over HTTP; `host` is an address without a port."""
    client = triton_http.InferenceServerClient(f"{host}:8000")
    return lambda images: _infer(client, triton_http, images)


def over_grpc(host: str) -> Predict:
    """Return a function that asks Triton over gRPC; `host` is an address without a port."""
    client = triton_grpc.InferenceServerClient(f"{host}:8001", channel_args=[_NO_PROXY])
    return lambda images: _infer(client, triton_grpc, images)


def _http_ready(address: str, port: int, host: str) -> None:
    request = urllib.request.Request(f"http://{address}:{port}/v2/health/ready", headers={"Host": host})
    # No proxy of the environment must stand between us and our own cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=ATTEMPT_SECONDS_MAX).close()


def _grpc_ready(address: str, port: int, host: str) -> None:
    # A new channel each time: one that was refused waits longer and longer before it tries again.
    named = [_NO_PROXY, ("grpc.default_authority", host)]
    with triton_grpc.InferenceServerClient(f"{address}:{port}", channel_args=named) as client:
        if not client.is_server_ready(client_timeout=ATTEMPT_SECONDS_MAX):
            raise DemoFailed("the server reports that it is not ready")


def _infer(client: object, protocol: object, images: Images) -> Probabilities:
    tensor = protocol.InferInput("X", list(images.shape), "FP32")  # type: ignore[attr-defined]
    tensor.set_data_from_numpy(images)
    answer = client.infer(MODEL, [tensor])  # type: ignore[attr-defined]
    return np.asarray(answer.as_numpy("probabilities"))


@dataclass
class Load:
    """Requests that keep coming, `rate_per_second` from each of the named functions, while something changes."""

    predictors: dict[str, Callable[[], Predict]]
    images: Images
    expected: Probabilities
    rate_per_second: float = 25.0
    sent: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for name, connect in self.predictors.items():
            self.sent[name] = 0
            thread = threading.Thread(target=self._run, args=(name, connect), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _run(self, name: str, connect: Callable[[], Predict]) -> None:
        predict = connect()
        due = time.monotonic()
        while not self._stop.is_set():
            row = self.sent[name] % len(self.images)
            try:
                answer = predict(self.images[row : row + 1])
                if not np.allclose(answer, self.expected[row : row + 1], atol=TOLERANCE):
                    self.failures.append(f"{name}: request {self.sent[name]} got a wrong response")
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a failed request, and is counted
                self.failures.append(f"{name}: request {self.sent[name]}: {error}")
            self.sent[name] += 1
            due += 1 / self.rate_per_second
            self._stop.wait(max(0.0, due - time.monotonic()))
