"""A model that takes as long as a small network may take on a GPU: 80 ms a batch and 10 ms for each row in it.

It sleeps instead of computing, so that many replicas of it run on a machine without a GPU.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Answers each row of X with its sum."""

    def initialize(self, args: dict) -> None:
        """Read how long to take from the model's parameters, in seconds."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        given = {name: float(value["string_value"]) for name, value in parameters.items()}
        self.batch_seconds = given.get("batch_seconds", 0.080)
        self.row_seconds = given.get("row_seconds", 0.010)

    def execute(self, requests: list) -> list:
        """Return one answer for each request of a batch; X has the shape [rows, 4], SUM [rows, 1]."""
        inputs = [triton.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        time.sleep(self.batch_seconds + self.row_seconds * sum(len(rows) for rows in inputs))
        sums = [rows.sum(axis=1, keepdims=True, dtype=np.float32) for rows in inputs]
        return [triton.InferenceResponse([triton.Tensor("SUM", rows)]) for rows in sums]
