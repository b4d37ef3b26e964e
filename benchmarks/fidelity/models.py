"""The models that are served: the configuration of each for Triton, and for the simulator."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

MAX_BATCH = 8
WIDTH = 1024
LAYERS = 400
"""Of the ONNX model: some 20 ms for one row."""

SLEEPER = b"""
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        until = time.perf_counter() + 0.020 + 0.002 * len(requests)
        answers = [pb.InferenceResponse([pb.Tensor("Y", pb.get_input_tensor_by_name(each, "X").as_numpy())])
                   for each in requests]
        time.sleep(max(0.0, until - time.perf_counter()))
        return answers
"""


@dataclass(frozen=True, slots=True)
class Served:
    """One model as it is served."""

    name: str
    loads: tuple[float, ...]
    """Shares of what it can do with full batches."""
    batching: str = ""
    """Of its config.pbtxt."""
    modelled: dict[str, Any] = field(default_factory=dict)
    """The same, in the simulator's words."""
    backend: str = "python"
    width: int = 1
    """Values in one row."""

    def files(self) -> dict[str, bytes]:
        """Return the content of its files by path."""
        if self.backend == "python":
            return {"config.pbtxt": self._config(), "1/model.py": SLEEPER}
        return {"config.pbtxt": self._config(), "1/model.onnx": _chain(self.width)}

    def _config(self) -> bytes:
        return f"""
            backend: "{self.backend}"
            max_batch_size: {MAX_BATCH}
            input [{{ name: "X" data_type: TYPE_FP32 dims: [{self.width}] }}]
            output [{{ name: "Y" data_type: TYPE_FP32 dims: [{self.width}] }}]
            instance_group [{{ kind: KIND_CPU count: 1 }}]
            dynamic_batching {{ {self.batching} }}
            parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
        """.encode()


LOADS = (0.3, 0.6, 0.8)
PLAIN = Served("sleep", LOADS)
SLEEPERS = (
    PLAIN,
    Served("sleep-queue-delay", LOADS, "max_queue_delay_microseconds: 10000", {"max_queue_delay_seconds": 0.010}),
    Served("sleep-preferred-sizes", LOADS, "preferred_batch_size: [3, 6]", {"preferred_batch_sizes": (3, 6)}),
    Served(
        "sleep-queue-timeout", LOADS,
        "default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 60000 }",
        {"queue_timeout_seconds": 0.060},
    ),
    Served("sleep-bounded-queue", LOADS, "default_queue_policy { max_queue_size: 6 }", {"max_queue_size": 6}),
)  # fmt: skip
ONNX = Served("onnx", (0.3, 0.6), backend="onnxruntime", width=WIDTH)


def _chain(width: int) -> bytes:
    """Return a chain of square matrices: the work per row is the same, and large beside the overhead."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((width, width)) / math.sqrt(width)).astype(np.float32)
    constant = helper.make_tensor("W", TensorProto.FLOAT, weights.shape, weights.ravel())
    names = ["X", *(f"h{layer}" for layer in range(1, LAYERS)), "Y"]
    nodes = [helper.make_node("MatMul", [names[i], "W"], [names[i + 1]]) for i in range(LAYERS)]
    shape: list[str | int | None] = ["N", width]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("X", "Y"))
    model = helper.make_model(
        helper.make_graph(nodes, "chain", [x], [y], [constant]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    return bytes(model.SerializeToString())
