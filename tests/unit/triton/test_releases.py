"""Which releases of Triton are refused, warned about and recommended."""

from pathlib import Path

import pytest
import yaml

from tritonfleet.errors import InvalidSpec
from tritonfleet.settings import DEFAULT_TRITON_IMAGE
from tritonfleet.triton.images import (
    FLAWS,
    RECOMMENDED,
    Image,
    Release,
    recommended,
    refuse_unsafe,
    release,
    warning,
)

VALUES = Path(__file__).parents[3] / "charts" / "tritonfleet" / "values.yaml"


def refused(tag: str, backend: str | None = None) -> str:
    with pytest.raises(InvalidSpec) as refusal:
        refuse_unsafe(Image("nvcr.io/nvidia/tritonserver", tag), allow_unsafe=False, backend=backend)
    assert refusal.value.reason == "ImageUnsafe"
    return str(refusal.value)


def test_a_release_with_vulnerabilities_is_refused_by_their_names() -> None:
    assert refused("26.02-py3") == (
        "spec.server.image: Triton 26.02 in 'nvcr.io/nvidia/tritonserver:26.02-py3' is older than 26.06 and has known"
        " vulnerabilities (CVE-2026-24207, CVE-2026-47606, CVE-2026-47630): use 26.11 or later,"
        " or set spec.server.allowUnsafeImage to true"
    )


@pytest.mark.parametrize(
    ("tag", "last_without", "first_with"),
    [
        ("25.07-py3", "CVE-2025-23319", "CVE-2025-23316"),
        ("25.08-py3", "CVE-2025-23316", "CVE-2026-24207"),
        ("26.03-py3", "CVE-2026-24207", "CVE-2026-47606"),
        ("26.05-py3", "CVE-2026-24207", "CVE-2026-47630"),
    ],
)
def test_each_vulnerability_is_named_until_the_release_that_fixes_it(
    tag: str, last_without: str, first_with: str
) -> None:
    message = refused(tag)
    assert last_without not in message
    assert first_with in message


def test_the_release_to_use_depends_on_the_backend() -> None:
    """26.11 has no image with TensorRT-LLM."""
    assert "use 26.10, the newest with tensorrtllm, or set" in refused("26.05-trtllm-python-py3", "tensorrtllm")
    assert recommended("tensorrtllm") == Release(26, 10)
    assert recommended("onnxruntime") == recommended(None) == RECOMMENDED
    assert warning(Image("triton", "26.10-trtllm-python-py3"), "tensorrtllm") is None


@pytest.mark.parametrize("tag", ["26.06-py3", "26.11-py3", "our-build-7", None])
def test_a_safe_or_unknown_release_is_accepted(tag: str | None) -> None:
    refuse_unsafe(Image("triton", tag), allow_unsafe=False)


def test_an_unsafe_release_is_warned_about_when_it_is_allowed() -> None:
    refuse_unsafe(Image("triton", "26.05"), allow_unsafe=True)
    said = warning(Image("triton", "26.05"))
    assert said is not None
    assert "CVE-2026-47606 (fixed in 26.06), CVE-2026-47630 (fixed in 26.06)" in said


@pytest.mark.parametrize(("tag", "fault"), [("26.07-py3", "can stop while requests wait"), ("26.10-py3", "has freed")])
def test_faults_of_the_batcher_are_warned_about(tag: str, fault: str) -> None:
    said = warning(Image("triton", tag))
    assert said is not None
    assert fault in said
    assert said.endswith("use 26.11 or later")


@pytest.mark.parametrize("tag", ["26.11-py3", "27.01", "custom", None])
def test_a_recent_or_unknown_release_is_not_warned_about(tag: str | None) -> None:
    assert warning(Image("triton", tag)) is None


def test_every_line_of_the_table_has_its_source_in_the_order_of_releases() -> None:
    assert all(flaw.source.startswith("https://") for flaw in FLAWS)
    assert [flaw.fixed_in for flaw in FLAWS] == sorted(flaw.fixed_in for flaw in FLAWS)


def test_the_default_image_is_the_recommended_release() -> None:
    for reference in (DEFAULT_TRITON_IMAGE, yaml.safe_load(VALUES.read_text())["triton"]["image"]):
        assert release(Image.parse(reference).tag) == RECOMMENDED
