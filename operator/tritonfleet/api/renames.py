"""Fields and words that were renamed in this release, and how each reader treats the former name.

`RENAMES` is the table of the fields of `spec`; an entry stays for one release. Three readers use it:

- The CustomResourceDefinition keeps each former name as a property that is always refused, with a message that gives
  the new name (`crd.py`). An unknown field would be pruned without a word by clients that do not validate.
- `ModelDeployment.parse()` refuses a former name in the same words. What an older API server filled in by itself is
  still stored in objects that were not written since, and means the same as no field: it is passed over.
- `with_new_names()` translates what the operator has written itself, such as the plan of a rollout that began before
  the upgrade. `with_new_words()` does so for reasons and names of checks, which are values of the status.

Example: `scaleDown: {holdWindow: 5m}` is refused with "must not be set: it was renamed to `stabilizationWindow`".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rename:
    """A field that has a new name in the same object."""

    parent: str
    """Path of the object that has the field, such as `spec.slo`."""
    old: str
    new: str
    schema: Schema
    """Type and bounds of the former field, as a structural schema: what does not fit is refused for that."""
    default: Any = None
    """What the API server filled in where the field was absent."""

    @property
    def path(self) -> str:
        """Return where the former field stood, such as `spec.slo.shedLate`."""
        return f"{self.parent}.{self.old}"

    @property
    def message(self) -> str:
        """Return what a person reads who still writes the former name."""
        return f"must not be set: it was renamed to `{self.new}`"


def _integer(maximum: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": maximum}


_BOOLEAN: Final[Schema] = {"type": "boolean"}
_DURATION: Final[Schema] = {"type": "string", "maxLength": 20}
_PERCENT: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 100}
_MARGIN: Final[Schema] = {
    "type": "object",
    "maxProperties": 2,
    "additionalProperties": {**_PERCENT, "description": "Ratio or difference."},
}
_ANALYSIS: Final = "spec.rollout.canary.analysis"

RENAMES: Final = (
    Rename("spec", "suspended", "suspend", _BOOLEAN, default=False),
    Rename("spec.slo", "shedLate", "loadShedding", _BOOLEAN, default=False),
    Rename("spec.autoscaling.behavior.scaleDown", "holdWindow", "stabilizationWindow", _DURATION, default="90s"),
    Rename(_ANALYSIS, "looks", "windows", _integer(100), default=10),
    Rename(_ANALYSIS, "maxLooks", "maxWindows", _integer(1000), default=30),
    Rename(_ANALYSIS, "confirmations", "failureThreshold", _integer(10), default=2),
    Rename(_ANALYSIS, "errors", "errorRate", _MARGIN, default={"ratio": 1.5, "difference": 0.2}),
    Rename(_ANALYSIS, "maxErrors", "maxErrorRate", _PERCENT),
    Rename(_ANALYSIS, "slow", "latency", _MARGIN, default={"ratio": 1.5, "difference": 0.5}),
    Rename(_ANALYSIS, "bake", "bakeTime", _DURATION, default="10m"),
)

_PROGRESS: Final = "status.rollout.analysis"
_NEW_NAMES: Final[Mapping[tuple[str, str], str]] = {
    **{(rename.parent, rename.old): rename.new for rename in RENAMES},
    (_PROGRESS, "errors"): "errorRate",
    (_PROGRESS, "slow"): "latency",
    (_PROGRESS, "slowBoundSeconds"): "latencyBoundSeconds",
}
"""By parent and former name: fields that the operator itself may have written."""

_NEW_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "reason": {
        "Looking": "AnalysisRunning",
        "NothingArrives": "NoCanaryTraffic",
        "PromotedBroke": "PromotedRevisionFailed",
    },
    "check": {
        "errors": "error-rate",
        "slow": "latency",
        "slo": "latency-objective",
        "arrival": "traffic-share",
        "probe": "golden-requests",
        "golden": "golden-requests",
    },
}
"""By field of `status.rollout`: former values."""


def refusals(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with each former name in an object, such as `spec.slo.shedLate: must not be set: ...`.

    An object with a `uid` comes from an API server, which may have filled in a former default.
    """
    metadata = body.get("metadata")
    stored = isinstance(metadata, Mapping) and bool(metadata.get("uid"))
    for rename in RENAMES:
        parent = _at(body, rename.parent.split("."))
        if rename.old in parent and not (stored and parent[rename.old] == rename.default):
            yield f"{rename.path}: {rename.message}, got {parent[rename.old]!r}"


def with_new_names(written: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return an object that the operator itself wrote at `path`, with former names replaced by the new ones."""
    found = dict(written)
    for (parent, old), new in _NEW_NAMES.items():
        if parent == path and old in found:
            found.setdefault(new, found.pop(old))
    for name, value in found.items():
        if isinstance(value, Mapping):
            found[name] = with_new_names(value, f"{path}.{name}")
    return found


def with_new_words(written: Any) -> Any:
    """Return `status.rollout`, or a part of it, with former reasons and names of checks replaced by the new ones."""
    if isinstance(written, list):
        return [with_new_words(each) for each in written]
    if not isinstance(written, Mapping):
        return written
    return {
        field: _NEW_WORDS.get(field, {}).get(value, value) if isinstance(value, str) else with_new_words(value)
        for field, value in written.items()
    }


def _at(body: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    """Return the object at a path, or an empty one where there is none."""
    node: Any = body
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}
