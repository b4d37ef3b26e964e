"""A model that can be told to misbehave, to see what a rollout does about it. A good one answers each row with its sum.

It sleeps instead of computing, so that many replicas of it run on a machine without a GPU. Parameters, all optional:

- `batch_seconds`: how long a batch takes.
- `cold_seconds`: for so long after its start a batch takes three times as long.
- `error_percent`: how many of its requests fail, evenly spread.
- `bias`: added to every answer, which makes it wrong.
- `sound_seconds`: for so long after its start it neither fails nor answers wrongly.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as triton

COLD_FACTOR = 3.0


class TritonPythonModel:
    """Answers each row of its input with the row's sum."""

    def initialize(self, args: dict) -> None:
        """Read from the model's configuration what its input is called and how to behave."""
        config = json.loads(args["model_config"])
        given = {name: float(value["string_value"]) for name, value in config.get("parameters", {}).items()}
        self.input = config["input"][0]["name"]
        self.batch_seconds = given.get("batch_seconds", 0.040)
        self.cold_seconds = given.get("cold_seconds", 0.0)
        self.error_share = given.get("error_percent", 0.0) / 100
        self.bias = np.float32(given.get("bias", 0.0))
        self.sound_seconds = given.get("sound_seconds", 0.0)
        self.started = time.monotonic()
        self.asked = 0

    def execute(self, requests: list) -> list:
        """Return one answer for each request of a batch; the input has the shape [rows, 4], SUM [rows, 1]."""
        age = time.monotonic() - self.started
        time.sleep(self.batch_seconds * (COLD_FACTOR if age < self.cold_seconds else 1.0))
        return [self.answer(request, sound=age < self.sound_seconds) for request in requests]

    def answer(self, request: object, *, sound: bool) -> object:
        """Answer one request, well if `sound`, else as the parameters say."""
        self.asked += 1
        if not sound and int(self.asked * self.error_share) > int((self.asked - 1) * self.error_share):
            return triton.InferenceResponse(error=triton.TritonError("told to fail"))
        rows = triton.get_input_tensor_by_name(request, self.input).as_numpy()
        sums = rows.sum(axis=1, keepdims=True, dtype=np.float32)
        return triton.InferenceResponse([triton.Tensor("SUM", sums if sound else sums + self.bias)])
