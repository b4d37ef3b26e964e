"""Every golden file that this repository shows can be used, and the quickstart's model passes its own."""

import re
import runpy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from tritonfleet.plan.rollout.verification import Tensor, mismatch, parse_golden, read_golden

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
MANIFESTS = {
    str(path.relative_to(ROOT)): text
    for path in (*ROOT.glob("examples/**/golden.yaml"), ROOT / "docs" / "how-to" / "golden-requests.md")
    for text in (re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)[:1] or [path.read_text()])
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_golden_file_that_is_shown_can_be_used(manifest: str) -> None:
    found = read_golden(yaml.safe_load(manifest)["data"]["golden.json"])

    assert found.problem == ""


def test_the_model_of_the_quickstart_answers_its_golden_requests(tmp_path: Path) -> None:
    runpy.run_path(str(QUICKSTART / "train.py"))["train"](tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    manifest = yaml.safe_load((QUICKSTART / "golden.yaml").read_text())

    for request in parse_golden(manifest["data"]["golden.json"]):
        (given,) = request.inputs
        images = np.array(given.data, np.float32).reshape(given.shape)
        label, probabilities = session.run(["label", "probabilities"], {given.name: images})
        answer = {
            "label": Tensor("label", "INT64", (1, 1), tuple(label.tolist())),
            "probabilities": Tensor("probabilities", "FP32", (1, 10), tuple(probabilities[0].tolist())),
        }
        assert mismatch(request, answer) == ""
