"""No name from outside becomes a file outside its folder."""

import string
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import safe_relative

HOSTILE = st.text(
    alphabet=["a", ".", "/", "\\", "%", "2", "e", "E", "f", "5", "c", "0", "\0", "\n", "é", "\ud800", " "]
)


@given(HOSTILE | st.text())
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a//b")
@example("a/%2E%2e/b")
@example("..\\x")
def test_an_accepted_name_stays_below_its_folder(name):
    folder = Path("/models/staging")
    try:
        safe_relative(name, of="a listing")
    except FetchFailed:
        return
    joined = folder / name
    assert ".." not in joined.parts
    assert joined.is_relative_to(folder)
    assert str(joined) == f"{folder}/{name}"
    assert name.isprintable()
    name.encode()


@given(
    st.lists(
        st.text(alphabet=string.ascii_letters + string.digits + "._-é ", min_size=1, max_size=40),
        min_size=1,
        max_size=6,
    )
)
def test_ordinary_names_are_accepted_unchanged(parts):
    assume(not any(part in {".", ".."} for part in parts))
    name = "/".join(parts)
    assert safe_relative(name, of="a listing") == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("1/../../x", "'..'"),
        ("1/./x", "'.'"),
        ("1//x", "empty"),
        ("1/", "empty"),
        ("1\\x", "backslash"),
        ("1/x\0y", "control character"),
        ("1/x\ny", "control character"),
        ("1/\udcff", "invalid UTF-8"),
        ("1/%2E%2e/x", "percent-encoding"),
        ("1%2fx", "percent-encoding"),
        ("1%5Cx", "percent-encoding"),
        ("1/" + "x" * 256, "longer than"),
        ("/".join(["x" * 200] * 6), "longer than"),
    ],
)
def test_a_refused_name_is_shown_with_its_problem_and_where_it_was_found(name, problem):
    with pytest.raises(FetchFailed) as refusal:
        safe_relative(name, of="s3://bucket/m")
    assert problem in str(refusal.value)
    assert "s3://bucket/m" in str(refusal.value)
    assert "rename it" in str(refusal.value)
