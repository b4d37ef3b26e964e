"""How many requests one server works on at a time."""

import pytest

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import executions_side_by_side, largest_batch


def config(backend="tensorrt", **spec):
    body = {
        "metadata": {"name": "m", "namespace": "shop"},
        "spec": {"model": {"uri": "s3://models/m", "backend": backend}, **spec},
    }
    deployment = ModelDeployment.parse(body)
    return model_config(deployment.spec, "m")


@pytest.mark.parametrize(
    ("spec", "batch"),
    [
        ({}, 1),
        ({"batching": {"maxBatchSize": 8}}, 1),
        ({"batching": {"maxBatchSize": 8, "dynamic": {}}}, 8),
        ({"modelConfig": {"max_batch_size": 16, "dynamic_batching": {}}}, 16),
    ],
)
def test_triton_batches_only_with_a_dynamic_batcher(spec, batch):
    assert largest_batch(config(**spec)) == batch


@pytest.mark.parametrize(
    ("instances", "gpus", "executions"),
    [
        ([], 1, 1),
        ([], 4, 4),
        ([], 0, 1),
        ([{"kind": "GPU", "count": 2}], 2, 4),
        ([{"kind": "GPU", "count": 2, "gpus": [0]}], 2, 2),
        ([{"kind": "CPU", "count": 3}], 2, 3),
        ([{"kind": "Auto", "count": 2}], 0, 2),
        ([{"kind": "GPU"}, {"kind": "CPU", "count": 2, "passive": True}], 1, 1),
    ],
)
def test_executions_run_side_by_side_on_every_copy_that_gets_requests(instances, gpus, executions):
    assert executions_side_by_side(config(instances=instances), gpus) == executions


def test_triton_makes_two_copies_of_an_onnx_model_on_the_cpu():
    assert executions_side_by_side(config(backend="onnxruntime"), 0) == 2
    assert executions_side_by_side(config(backend="onnxruntime"), 1) == 1
