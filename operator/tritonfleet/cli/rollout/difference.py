"""What two revisions differ in: the spec, the configuration and the pods that each was frozen with."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

import yaml

from tritonfleet.api import names
from tritonfleet.cli.complaint import Complaint
from tritonfleet.plan.objects import revision_from
from tritonfleet.plan.rollout import resolve_revision
from tritonfleet.plan.world import Manifest

_OWN_NAME = "REVISION"


def found(records: Iterable[Manifest], word: str) -> Manifest:
    """Return the ControllerRevision that a name, hash or number means; raises Complaint if there is none."""
    by_hash = {record["metadata"]["labels"][names.REVISION_LABEL]: record for record in records}
    numbers = {revision: int(record["revision"]) for revision, record in by_hash.items()}
    chosen = resolve_revision(word, numbers)
    if chosen is None:
        kept = ", ".join(str(number) for number in sorted(numbers.values())) or "none"
        raise Complaint(f"there is no revision '{word}'; kept are {kept}")
    return by_hash[chosen]


def difference(before: Manifest, after: Manifest) -> str:
    """Return a unified diff of two ControllerRevisions, empty if nothing differs; InvalidSpec if one is not ours."""
    old, new = _documents(before), _documents(after)
    return "".join(
        line for name in sorted(old.keys() | new.keys()) for line in _compared(name, before, after, old, new)
    )


def _compared(
    name: str, before: Manifest, after: Manifest, old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[str]:
    yield from difflib.unified_diff(
        old.get(name, "").splitlines(keepends=True),
        new.get(name, "").splitlines(keepends=True),
        f"{before['metadata']['name']} ({before['revision']})/{name}",
        f"{after['metadata']['name']} ({after['revision']})/{name}",
    )


def _documents(record: Manifest) -> Mapping[str, str]:
    revision = revision_from(record)
    pods = yaml.safe_dump(revision.template, sort_keys=True).replace(revision.hash, _OWN_NAME)
    return {
        "spec.yaml": yaml.safe_dump(revision.data["spec"], sort_keys=True),
        "pods.yaml": pods,
        **{name: text if text.endswith("\n") else f"{text}\n" for name, text in revision.config.items()},
    }
