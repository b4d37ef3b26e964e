"""Manifests that the API server refuses, each with what it says, and some that it takes."""

import copy
import json
from pathlib import Path

import yaml

HERE = Path(__file__).parent / "cluster"
REFUSALS = yaml.safe_load((HERE / "refusals.yaml").read_text(encoding="utf-8"))
EXAMPLES = sorted((HERE.parents[1] / "examples").rglob("*.yaml"))
VALID = yaml.safe_load("""
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata: {name: recommender}
spec:
  model: {uri: "s3://models/recommender/7", backend: onnxruntime}
  batching: {maxBatchSize: 32, dynamic: {maxQueueDelay: 2ms}}
  instances: [{kind: GPU}]
  server: {gpu: {count: 1}}
""")
COMPLETE = list(yaml.safe_load_all((HERE / "complete.yaml").read_text(encoding="utf-8")))

SOURCES = (
    "s3://models/recommender/7",
    "gs://my_models.example/recommender",
    "az://account/models/recommender/7",
    "az://account/models",
    "https://account.blob.core.windows.net/models/recommender/",
    "https://account.blob.core.windows.net/models/model.onnx",
    "https://example.com:8443/m.tar.gz",
    "hf://org/model",
    "hf://org/model@main/onnx",
    "hf://org/model@v1.2/onnx/model.onnx",
    "mlflow://models:/recommender@champion",
    "mlflow://models:/main.prod.recommender/7",
    "oci://ghcr.io/org/model",
    "oci://registry.example.com:5000/a/b_c/d:v1.2",
    "oci://ghcr.io/org/model@sha256:" + "0" * 64,
    "pvc://claim",
)
"""Model URIs that the API server takes, and the fetch step as well."""


def wrong(entry):
    manifest = copy.deepcopy(VALID)
    for path, value in entry.get("set", {}).items():
        put(manifest, path, value)
    if "fill" in entry:
        fill = entry["fill"]
        put(manifest, fill["path"], _filled(fill))
    return manifest


def _filled(fill):
    if "text" in fill:
        return fill["text"].format(text="x" * fill["times"])
    values = [json.loads(json.dumps(fill["value"]).replace("{n}", str(n))) for n in range(fill["times"])]
    if "key" in fill:
        return {fill["key"].format(n=n): value for n, value in enumerate(values)}
    return values


def put(manifest, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        manifest = manifest.setdefault(parent, {})
    if value is None:
        del manifest[last]
    else:
        manifest[last] = value
