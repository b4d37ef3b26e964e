import pytest

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.images import Image, refuse_unsafe, release, warning

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            "nvcr.io/nvidia/tritonserver:26.11-py3",
            Image("nvcr.io/nvidia/tritonserver", "26.11-py3"),
        ),
        ("localhost:5000/triton:dev", Image("localhost:5000/triton", "dev")),
        ("localhost:5000/triton", Image("localhost:5000/triton")),
        (f"registry/triton@{DIGEST}", Image("registry/triton", None, DIGEST)),
        (f"registry/triton:26.11@{DIGEST}", Image("registry/triton", "26.11", DIGEST)),
        ("triton", Image("triton")),
    ],
)
def test_a_reference_is_split_and_written_back(reference: str, expected: Image) -> None:
    image = Image.parse(reference)
    assert image == expected
    assert str(image) == reference


@pytest.mark.parametrize("reference", ["", "triton:", "Registry/Upper/Case:1", "a b", f"triton@{DIGEST[:-1]}"])
def test_what_is_no_image_is_refused(reference: str) -> None:
    with pytest.raises(InvalidSpec, match="is not an image: write repository:tag"):
        Image.parse(reference)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("26.04-py3", (26, 4)),
        ("25.12", (25, 12)),
        ("24.10-vllm-python-py3", (24, 10)),
        ("26.13-py3", None),
        ("26.041", None),
        ("latest", None),
        ("v26.04", None),
        (None, None),
    ],
)
def test_a_release_is_read_off_the_tag(tag: str | None, expected: tuple[int, int] | None) -> None:
    assert release(tag) == expected


def test_a_release_with_remote_holes_is_refused() -> None:
    with pytest.raises(InvalidSpec) as refusal:
        refuse_unsafe(Image("nvcr.io/nvidia/tritonserver", "25.06-py3"), allow_unsafe=False)
    assert refusal.value.reason == "ImageUnsafe"
    assert str(refusal.value) == (
        "spec.server.image: Triton 25.06 in 'nvcr.io/nvidia/tritonserver:25.06-py3' is older than 25.07 "
        "and has known remote vulnerabilities: use 26.04 or later, or set spec.server.allowUnsafeImage to true"
    )


@pytest.mark.parametrize("tag", ["25.07-py3", "26.11-py3", "our-build-7", None])
def test_a_safe_or_unknown_release_is_accepted(tag: str | None) -> None:
    refuse_unsafe(Image("triton", tag), allow_unsafe=False)


def test_an_unsafe_release_is_accepted_when_allowed() -> None:
    refuse_unsafe(Image("triton", "24.10"), allow_unsafe=True)


def test_a_release_that_hides_a_dead_backend_is_warned_about() -> None:
    assert warning(Image("triton", "26.03-py3")) == (
        "Triton 26.03 reports ready after its Python backend has died: use 26.04 or later"
    )


@pytest.mark.parametrize("tag", ["26.04-py3", "custom"])
def test_a_recent_or_unknown_release_is_not_warned_about(tag: str) -> None:
    assert warning(Image("triton", tag)) is None
