"""`tritonfleet validate`: whether a cluster would take the ModelDeployments of files, without a cluster.

Each object is checked as the API server would check it (`api/admission.py`), and then as the operator would: Triton's
configuration is built and checked, and the image's release. `validate()` prints the findings as a compiler does, as
JSON, as SARIF 2.1.0 for code scanning, or as GitHub's workflow commands. It returns 0 if all are valid, 1 if one is
not, 2 if a file cannot be read.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any, Final

from tritonfleet import settings
from tritonfleet.api import names
from tritonfleet.api.admission import in_namespace, violations
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.cli.manifests import Document, model_deployments
from tritonfleet.cli.terminal import UsageError, one_line, report_error, require_extra, say
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import build_revision, image_of
from tritonfleet.plan.sequences import refuse_split_sequences
from tritonfleet.plan.world import Defaults
from tritonfleet.triton.images import warning

EXTRA: Final = ("cel", "regex")
_PATH: Final = re.compile(r"(?P<path>(?:spec|metadata)(?:[.\[][^: ]+)?):? (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an object."""

    file: str
    line: int
    """From 1."""
    object: str
    """Namespace and name."""
    field: str
    """Empty if it concerns the object as a whole."""
    severity: str
    """`error` or `warning`."""
    message: str


def validate(options: SimpleNamespace) -> int:
    """Check every ModelDeployment, print what was found, and return the exit status."""
    try:
        require_extra("validate", EXTRA)
        defaults = settings.from_environment().defaults
        documents = list(model_deployments(options.files))
    except (UsageError, ValueError) as problem:
        return report_error("validate", problem)
    findings = [finding for document in documents for finding in findings_of(document, defaults)]
    if text := _FORMATS[options.output](findings):
        say(text)
    wrong = {(each.file, each.object) for each in findings if each.severity == "error" or options.strict}
    verdict = f"{len(wrong)} of them invalid" if wrong else "all valid" if documents else "nothing to check"
    say(f"{counted(len(documents), names.KIND)}: {verdict}", error=True)
    return 1 if wrong else 0


def findings_of(document: Document, defaults: Defaults) -> Iterator[Finding]:
    """Yield what is wrong with one ModelDeployment."""
    body = in_namespace(document.body)
    metadata = body["metadata"] if isinstance(body.get("metadata"), dict) else {}
    title = f"{metadata.get('namespace')}/{metadata.get('name')}"
    for severity, path, message in _refusals(body, defaults):
        yield Finding(document.file, document.line(path), title, path, severity, one_line(message))


def _refusals(body: dict[str, Any], defaults: Defaults) -> Iterator[tuple[str, str, str]]:
    """Yield severity, path and message: what the API server refuses, otherwise what the operator does."""
    if body.get("apiVersion") != names.API_VERSION:
        yield "error", "apiVersion", f"must be {names.API_VERSION}, got '{body.get('apiVersion')}'"
        return
    refused = violations(body)
    if refused:
        yield from (("error", *(_located(message) if not path else (path, message))) for path, message in refused)
        return
    try:
        deployment = ModelDeployment.parse(body)
        refuse_split_sequences(deployment, build_revision(deployment, defaults), None, body)
    except InvalidSpec as problem:
        yield ("error", *_located(str(problem)))
        return
    image = deployment.spec.server.image
    if image is not None and image.tag is not None:
        flaws = warning(image_of(deployment, defaults), deployment.spec.model.backend)
        if flaws is not None:
            yield "warning", "spec.server.image.tag", flaws


def _located(message: str) -> tuple[str, str]:
    """Split a message that begins with its field into the two."""
    match = _PATH.fullmatch(message)
    return (match["path"], match["message"]) if match else ("spec", message)


def _compiler(findings: Sequence[Finding]) -> str:
    return "\n".join(
        f"{each.file}:{each.line}: {each.severity}: {each.object}: {each.field}: {each.message}" for each in findings
    )


def _json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(each) for each in findings], indent=2, ensure_ascii=False)


def _sarif(findings: Sequence[Finding]) -> str:
    results = [
        {
            "ruleId": each.severity,
            "level": each.severity,
            "message": {"text": f"{each.object}: {each.field}: {each.message}"},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": each.file}, "region": {"startLine": each.line}}}
            ],
        }
        for each in findings
    ]
    rules = [
        {"id": "error", "shortDescription": {"text": "The cluster would refuse the ModelDeployment."}},
        {"id": "warning", "shortDescription": {"text": "The ModelDeployment would run, with known faults."}},
    ]
    driver = {"name": "tritonfleet", "rules": rules}
    run_of = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run_of]}, indent=2, ensure_ascii=False)


def _github(findings: Sequence[Finding]) -> str:
    """Return workflow commands, which GitHub shows at the lines of a pull request."""
    return "\n".join(
        f"::{each.severity} file={_escaped(each.file, ':,')},line={each.line},title={_escaped(each.object, ':,')}"
        f"::{_escaped(f'{each.field}: {each.message}')}"
        for each in findings
    )


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)


_FORMATS: Final[Mapping[str, Callable[[Sequence[Finding]], str]]] = {
    "text": _compiler,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
