"""What Triton counted of one model, and how long a batch takes by that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters since the model was loaded, or what they rose by."""

    requests: int
    """Answered successfully."""
    executions: int
    seconds: float
    """Durations of the answered requests, queue included, added up."""
    batches: Mapping[int, tuple[int, float]]
    """Executions and their seconds added up, by batch size."""

    @property
    def mean_batch(self) -> float:
        """Answered requests for each execution."""
        return self.requests / self.executions

    def since(self, before: "Counts") -> "Counts":
        """Return what was counted after `before`."""
        risen = {
            size: (count - before.batches.get(size, (0, 0.0))[0], spent - before.batches.get(size, (0, 0.0))[1])
            for size, (count, spent) in self.batches.items()
        }
        return Counts(
            self.requests - before.requests,
            self.executions - before.executions,
            self.seconds - before.seconds,
            {size: (count, spent) for size, (count, spent) in risen.items() if count},
        )

    def line(self) -> tuple[float, float]:
        """Return alpha and beta, in seconds, of T(b) = alpha + beta * b fitted to the executions of every size."""
        sizes = np.array(list(self.batches), float)
        counts, spent = np.array(list(self.batches.values())).T
        weights = np.sqrt(counts)
        terms = np.stack([weights, weights * sizes], axis=1)
        alpha, beta = np.linalg.lstsq(terms, weights * spent / counts, rcond=None)[0]
        return float(alpha), float(beta)


def counted(client: InferenceServerClient, model: str) -> Counts:
    """Ask Triton for its statistics of a model."""
    stats = client.get_inference_statistics(model).model_stats[0]
    return Counts(
        stats.inference_stats.success.count,
        stats.execution_count,
        stats.inference_stats.success.ns / 1e9,
        {each.batch_size: (each.compute_infer.count, _execution_ns(each) / 1e9) for each in stats.batch_stats},
    )


def _execution_ns(batch: Any) -> int:
    return int(batch.compute_input.ns + batch.compute_infer.ns + batch.compute_output.ns)
