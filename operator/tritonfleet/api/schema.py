"""Prints the CustomResourceDefinition: `python -m tritonfleet.api.schema`; run it in the repository's root."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.api.crd import definition, root_schema
from tritonfleet.api.reference import reference

CRD_FILE: Final = f"{names.GROUP}_{names.PLURAL}.yaml"
_CRD_PATHS: Final = (
    Path("crds") / CRD_FILE,
    Path("charts/tritonfleet/crd") / CRD_FILE,
    Path("charts/tritonfleet-crds/crd") / CRD_FILE,
)
_WIDTH: Final = 100
"""Where PyYAML looks for the next space: a line ends up a word longer at most."""
_FOLDED_LENGTH: Final = 90
_INDENT: Final = 1
"""Fields lie up to 20 levels deep: with two spaces for each, the spaces would be 45% of the definition."""
_REFERENCE_PATH: Final = Path("docs/reference/modeldeployment.md")


def crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML."""
    return yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=_WIDTH, default_flow_style=False)


def generated_files() -> dict[Path, str]:
    """Return every file that is made from the schema, by its path within the repository."""
    crd = crd_yaml()
    return {**dict.fromkeys(_CRD_PATHS, crd), _REFERENCE_PATH: reference(root_schema())}


def stale_files(root: Path) -> list[Path]:
    """Return the generated files below `root` that are missing or not what the schema says."""
    return [
        path
        for path, content in generated_files().items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != content
    ]


def main() -> int:
    """Print the definition, or the reference page, or bring the repository's files up to date."""
    parser = argparse.ArgumentParser(prog="python -m tritonfleet.api.schema", description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--markdown", action="store_true", help="print the reference page instead")
    group.add_argument("--write", action="store_true", help="write every generated file")
    group.add_argument("--check", action="store_true", help="fail when a generated file is stale")
    options = parser.parse_args()
    if options.check:
        stale = stale_files(Path())
        for path in stale:
            sys.stderr.write(f"{path} is stale: run `python -m tritonfleet.api.schema --write`\n")
        return 1 if stale else 0
    if options.write:
        for path, content in generated_files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return 0
    sys.stdout.write(reference(root_schema()) if options.markdown else crd_yaml())
    return 0


class _Dumper(yaml.SafeDumper):
    """Writes block style, so that a change of one field is a change of its lines, and folds long text (`>-`).

    Lists of names are written on one line.

    Equal parts are written out again: anchors are hard to read, and CRD tools do not expect them.
    """

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # An object in a list begins after the dash, on the same line. The argument `indent` takes 2 at least.
        self.best_indent = 2 if self.sequence_context and not flow else _INDENT
        super().increase_indent(flow, indentless)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        folded = " " in data and (len(data) > _FOLDED_LENGTH or {"'", '"'} <= set(data))
        return self.represent_scalar("tag:yaml.org,2002:str", data, ">" if folded else None)

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        names = list(data)
        flows = bool(names) and all(isinstance(name, str) for name in names)
        return self.represent_sequence("tag:yaml.org,2002:seq", names, flow_style=flows)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(list, _Dumper.represent_list)

if __name__ == "__main__":
    sys.exit(main())
