"""Requests to the digits model over both protocols, checked against the same model run directly."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

MODEL = "digits"
TOLERANCE = 1e-5
"""Both sides run the same ONNX Runtime; batches only change the order of additions."""

Images = np.ndarray
Probabilities = np.ndarray
Predict = Callable[[Images], Probabilities]


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
    client = triton_grpc.InferenceServerClient(f"{host}:8001")
    return lambda images: _infer(client, triton_grpc, images)


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
                    self.failures.append(f"{name}: request {self.sent[name]} was answered wrongly")
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is a failed request, and is counted
                self.failures.append(f"{name}: request {self.sent[name]}: {error}")
            self.sent[name] += 1
            due += 1 / self.rate_per_second
            self._stop.wait(max(0.0, due - time.monotonic()))
