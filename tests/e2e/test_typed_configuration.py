"""What a real Triton makes of configurations from typed fields: it loads them, and says the same of each field."""

from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig as PlainConfig

from benchmarks.fidelity import server
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.triton import schema
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import ModelConfig
from tritonfleet.triton.validation import problems

IDENTITY = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse([pb.Tensor("OUT", pb.get_input_tensor_by_name(request, "IN").as_numpy())])
            for request in requests
        ]
"""
TENSORS = {
    "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4]}],
    "outputs": [{"name": "OUT", "dataType": "FP32", "dims": [4]}],
}
STATE = {"inputName": "STATE_IN", "outputName": "STATE_OUT", "dataType": "INT32", "dims": [2]}
CONTROLS = [
    {"kind": "Start", "input": "START", "dataType": "FP32", "falseTrue": [0, 1.5]},
    {"kind": "End", "input": "END", "dataType": "BOOL"},
    {"kind": "Ready", "input": "READY", "dataType": "INT32", "falseTrue": [-1, 1]},
    {"kind": "CorrelationID", "input": "ID", "dataType": "UINT64"},
]
WARMUP = [
    {"name": "zeros", "batchSize": 2, "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4], "zeroData": True}]},
    {"name": "noise", "count": 3, "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4], "randomData": True}]},
    {"name": "file", "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4], "inputDataFile": "four.bin"}]},
]
OPTIMIZATION = {
    "graphLevel": 1,
    "priority": "Max",
    "cuda": {
        "graphs": True,
        "busyWaitEvents": True,
        "outputCopyStream": True,
        "graphSpecs": [
            {
                "batchSize": 4,
                "inputs": [{"name": "IN", "dims": [4]}],
                "lowerBound": {"batchSize": 1, "inputs": [{"name": "IN", "dims": [4]}]},
            }
        ],
    },
    "executionAccelerators": {"cpu": [{"name": "openvino", "parameters": {"precision": "FP16"}}]},
    "inputPinnedMemory": False,
    "outputPinnedMemory": True,
    "gatherKernelBufferThreshold": 16,
    "eagerBatching": True,
}
SPECS: dict[str, dict[str, Any]] = {
    "direct": {
        "batching": {
            "maxBatchSize": 4,
            "sequence": {
                "direct": {"maxQueueDelay": "1ms", "minimumSlotUtilization": 0.5},
                "maxSequenceIdle": "30s",
                "controls": CONTROLS,
                "states": [{**STATE, "initialState": {"zeroData": True}}],
            },
        }
    },
    "oldest": {
        "batching": {
            "maxBatchSize": 4,
            "sequence": {
                "oldest": {
                    "maxCandidateSequences": 8,
                    "preferredBatchSizes": [2, 4],
                    "maxQueueDelay": "2ms",
                    "preserveOrdering": True,
                },
                "states": [{**STATE, "initialState": {"name": "begin", "dataFile": "two.bin"}}],
            },
        }
    },
    "dynamic": {
        "batching": {
            "maxBatchSize": 8,
            "dynamic": {
                "maxQueueDelay": "1ms",
                "preferredBatchSizes": [4, 8],
                "priorityLevels": 2,
                "defaultPriority": 1,
                "priorityPolicies": [{"level": 2, "maxQueueSize": 8, "queueTimeout": "1s", "timeoutAction": "Delay"}],
            },
        },
        "model": {"warmup": WARMUP, "metricTags": {"team": "shop"}, "parameters": {"a": "1"}},
    },
    "optimized": {"batching": {"maxBatchSize": 4}, "model": {"optimization": OPTIMIZATION}},
    "ragged": {
        "batching": {
            "maxBatchSize": 4,
            "batchInputs": [
                {"kind": kind, "targetNames": [f"IN_{kind}"], "dataType": "FP32", "sourceInput": "IN"}
                for kind in ("ElementCount", "AccumulatedElementCountWithZero", "ItemShapeFlatten")
            ],
            "batchOutputs": [{"targetNames": ["OUT"], "sourceInput": "IN"}],
        }
    },
    "limited": {
        "instances": [
            {
                "kind": "CPU",
                "name": "slow",
                "count": 2,
                "rateLimiter": {
                    "priority": 2,
                    "resources": [{"name": "memory", "count": 4}, {"name": "bus", "count": 1, "global": True}],
                },
            },
            {"kind": "CPU", "name": "fast"},
        ]
    },
    "talkative": {"model": {"decoupled": True, "versionPolicy": {"specific": [1]}, "defaultModelFilename": "model.py"}},
}


def config_of(name: str) -> ModelConfig:
    given = SPECS[name]
    model = {"uri": "s3://models/m", "backend": "python", **TENSORS, **given.get("model", {})}
    body = {"metadata": {"name": name, "namespace": "shop"}, "spec": {**given, "model": model}}
    return model_config(ModelDeployment.parse(body).spec, name)


def on_the_wire(config: ModelConfig) -> PlainConfig:
    """Return it as Triton's own schema has it, in which `false` is the same as nothing."""
    return PlainConfig.FromString(config.SerializeToString())


def files_of(name: str) -> dict[str, bytes]:
    return {
        "1/model.py": IDENTITY.encode(),
        "config.pbtxt": schema.to_text(config_of(name)).encode(),
        "warmup/four.bin": bytes(16),
        "initial_state/two.bin": bytes(8),
    }


@pytest.fixture(scope="module")
def triton() -> Iterator[InferenceServerClient]:
    with server.running({name: files_of(name) for name in SPECS}) as address, InferenceServerClient(address) as client:
        yield client


@pytest.mark.parametrize("name", SPECS)
def test_triton_loads_typed_fields_and_says_the_same_of_each(triton: InferenceServerClient, name: str) -> None:
    ours = config_of(name)
    assert problems(ours, model_name=name, gpus=0) == ()

    answered = triton.get_model_config(name).config
    theirs = schema.empty()
    theirs.ParseFromString(answered.SerializeToString())

    assert triton.is_model_ready(name)
    assert on_the_wire(schema.merge(theirs, ours)) == on_the_wire(theirs)
