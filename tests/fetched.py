"""How a run of the fetch step ended, and what it left."""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Outcome:
    """How one run of the container ended."""

    code: int
    message: str
    log: str
    model: Path

    def files(self):
        """Return the model's files by path, the configuration that the operator renders left out."""
        found = {str(f.relative_to(self.model)): f.read_bytes() for f in _files_below(self.model)}
        found.pop("configs/tritonfleet.pbtxt", None)
        return found

    @property
    def config(self):
        return (self.model / "configs" / "tritonfleet.pbtxt").read_text()

    @property
    def digest(self):
        return json.loads(self.message)["digest"]


def _files_below(folder):
    return [Path(top) / name for top, _, names in os.walk(folder, followlinks=True) for name in names]
