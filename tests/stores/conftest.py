"""The fetch step, run as the container runs it: by its environment, judged by its termination message."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tritonfleet.fetch import main


@dataclass
class Outcome:
    """How one run of the container ended."""

    code: int
    message: str
    log: str
    model: Path

    def files(self):
        return {
            str(file.relative_to(self.model)): file.read_bytes()
            for file in self.model.rglob("*")
            if file.is_file() and file.parent.name != "configs"
        }


@pytest.fixture
def run_fetch(tmp_path, capfd):
    """Run the fetch step; return its exit code, its termination message and the model's folder."""
    (tmp_path / "models").mkdir()
    (tmp_path / "overlay.pbtxt").write_text('backend: "onnxruntime"\n')
    log = tmp_path / "termination-log"

    def run(uri, environment):
        log.write_text("")
        settings = {
            "TRITONFLEET_FETCH_URI": uri,
            "TRITONFLEET_FETCH_MODEL": "resnet",
            "TRITONFLEET_FETCH_TARGET": str(tmp_path / "models"),
            "TRITONFLEET_FETCH_CONFIG": str(tmp_path / "overlay.pbtxt"),
            "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
        }
        code = main(settings | environment, log)
        return Outcome(code, log.read_text(), capfd.readouterr().out, tmp_path / "models" / "resnet")

    return run
