import pytest

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.images import Image, release

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
