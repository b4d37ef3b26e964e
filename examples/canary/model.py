"""A model that can be made to misbehave, to see how a rollout reacts. A good one answers each row with its sum.

It waits instead of computing, so that many replicas of it run on a machine without a GPU. Parameters, all optional:

- `load_seconds`: how long it takes to load.
- `seconds`: how long an answer takes.
- `cold_seconds`: for so long after its start an answer takes three times as long.
- `error_percent`: how many of the requests fail, evenly spread.
- `bias`: added to every answer, which makes it wrong.
- `sound_seconds`: for so long after its start it neither fails nor answers wrongly.
"""

import json
import threading
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

COLD_FACTOR = 3.0


class TritonPythonModel:
    """Answers each row of its input with the row's sum, however many others it is answering meanwhile."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read from the model's configuration what its input is called and how to behave."""
        config = json.loads(args["model_config"])
        given = {name: float(value["string_value"]) for name, value in config.get("parameters", {}).items()}
        self.input = config["input"][0]["name"]
        time.sleep(given.get("load_seconds", 0.0))
        self.seconds = given.get("seconds", 0.210)
        self.cold_seconds = given.get("cold_seconds", 0.0)
        self.error_share = given.get("error_percent", 0.0) / 100
        self.bias = np.float32(given.get("bias", 0.0))
        self.sound_seconds = given.get("sound_seconds", 0.0)
        self.started = time.monotonic()
        self.asked = 0

    def execute(self, requests: list[Any]) -> None:
        """Begin to answer; the input has the shape [rows, 4], SUM [rows, 1]."""
        age = time.monotonic() - self.started
        sound = age < self.sound_seconds
        before, self.asked = self.asked, self.asked + len(requests)
        if not sound and int(self.asked * self.error_share) > int(before * self.error_share):
            raise triton.TritonModelException("told to fail")
        for request in requests:
            rows = triton.get_input_tensor_by_name(request, self.input).as_numpy()
            sums = rows.sum(axis=1, keepdims=True, dtype=np.float32) + (np.float32(0.0) if sound else self.bias)
            seconds = self.seconds * (COLD_FACTOR if age < self.cold_seconds else 1.0)
            threading.Timer(seconds, self.answer, (request.get_response_sender(), sums)).start()

    def answer(self, sender: Any, sums: np.ndarray) -> None:
        """Send the answer to one request."""
        response = triton.InferenceResponse([triton.Tensor("SUM", sums)])
        sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
