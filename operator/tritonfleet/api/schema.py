"""Prints the CustomResourceDefinition: `python -m tritonfleet.api.schema`; run it in the repository's root."""

import argparse
import sys
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
_NEVER_WRAP: Final = 1_000_000
_REFERENCE_PATH: Final = Path("docs/reference/modeldeployment.md")


def crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML."""
    return yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=_NEVER_WRAP)


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
    """Writes equal parts out again: anchors are hard to read, and CRD tools do not expect them.

    A field stands on one line, and so do the fields of an object without objects in it: half of the file would be
    indentation. The charts look for `metadata:` on a line of its own.
    """

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = len(node.value) > 1 and "metadata" not in mapping and not _holds_objects(mapping)
        return node

    def represent_str(self, data: str) -> yaml.ScalarNode:
        doubled = data.count("'") > 2 and not {'"', "\\"} & set(data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, '"' if doubled else None)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = all(isinstance(one, yaml.ScalarNode) for one in node.value)
        return node

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _holds_objects(value: Any) -> bool:
    if isinstance(value, dict):
        return "properties" in value or any(map(_holds_objects, value.values()))
    return isinstance(value, list) and any(map(_holds_objects, value))


_Dumper.add_representer(str, _Dumper.represent_str)

if __name__ == "__main__":
    sys.exit(main())
