"""What people write into annotations and fields is read exactly, refused in words, and asked once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.rollout import Rollout
from tritonfleet.api.rollout_status import CONSUMED_MAX
from tritonfleet.plan.rollout import (
    Phase,
    Request,
    RevisionPods,
    RolloutContext,
    RolloutInputs,
    State,
    Verb,
    parse_request,
    requests_of,
    resolve_revision,
)
from tritonfleet.plan.rollout.commands import answer_request

HASH = "1a2b3c4d5e"
OTHER = "0123456789"
AT = "2026-01-31T12:00:00Z"
NOW = datetime(2026, 1, 31, 13, tzinfo=UTC)


def body(**annotations: str) -> dict[str, Any]:
    found = {f"tritonfleet.dev/{verb.replace('_', '-')}": value for verb, value in annotations.items()}
    return {"metadata": {"name": "shop", "annotations": {"note": "not ours"} | found}}


def asked(policy: Rollout | None = None, **annotations: str) -> tuple[Request, ...]:
    return requests_of(body(**annotations), policy or Rollout())


@pytest.mark.parametrize("word", [f"shop-{HASH}", HASH])
def test_a_revision_may_be_named_or_given_by_its_hash(word: str) -> None:
    assert asked(abort=f"{word} by=ann@example.com at={AT}") == (
        Request(Verb.ABORT, HASH, by="ann@example.com", at=AT),
    )


def test_a_revision_may_be_given_by_its_number() -> None:
    assert asked(rollback_to="3") == (Request(Verb.ROLLBACK_TO, "3"),)


def test_an_approval_names_its_step() -> None:
    assert asked(approve=f"shop-{HASH}:2") == (Request(Verb.APPROVE, HASH, 2),)


def test_the_fields_of_the_spec_ask_in_the_same_words() -> None:
    policy = Rollout(approve=f"shop-{HASH}:1", promote=HASH, abort="7", retry="again-1")

    assert set(asked(policy)) == {
        Request(Verb.APPROVE, HASH, 1),
        Request(Verb.PROMOTE, HASH),
        Request(Verb.ABORT, "7"),
        Request(Verb.RETRY, "again-1"),
    }


def test_what_field_and_annotation_ask_alike_is_asked_once() -> None:
    assert len(asked(Rollout(promote=HASH), promote=f"shop-{HASH}")) == 1


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    (request,) = asked(pause=f"{HASH} at=2026-01-31T13:00:00+01:00")

    assert request.at == AT


@pytest.mark.parametrize(
    ("verb", "value", "complaint"),
    [
        ("approve", f"shop-{HASH}", "must name a revision and a step, such as shop-1a2b3c4d5e:2"),
        ("approve", f"shop-{HASH}:0", "must name a revision and a step, such as shop-1a2b3c4d5e:2"),
        ("approve", ":2", "must name a revision and a step, such as shop-1a2b3c4d5e:2"),
        ("abort", f"shop-{HASH}:2", "must name a revision by its name, hash or number, such as shop-1a2b3c4d5e"),
        ("abort", f"till-{HASH}", "must name a revision by its name, hash or number, such as shop-1a2b3c4d5e"),
        ("promote", "shop-3", "must name a revision by its name, hash or number, such as shop-1a2b3c4d5e"),
        ("promote", "", "must name a revision by its name, hash or number, such as shop-1a2b3c4d5e"),
        ("promote", "٣", "must name a revision by its name, hash or number, such as shop-1a2b3c4d5e"),
        ("retry", "", "must begin with a word of 1 to 63 characters that was not used before"),
        ("retry", "x" * 64, "must begin with a word of 1 to 63 characters that was not used before"),
        (
            "abort",
            f"{HASH} for fun",
            "only by=WHO and at=WHEN, each once and without spaces, may follow the first word",
        ),
        ("abort", f"{HASH} by=a by=b", "only by=WHO and at=WHEN, each once and without spaces, may follow"),
        ("abort", f"{HASH} by={'x' * 129}", "by= must have at most 128 characters"),
        ("abort", f"{HASH} at=noon", "at= must be a time with a time zone, such as 2026-01-31T12:00:00Z"),
        ("abort", f"{HASH} at=2026-01-31T12:00:00", "at= must be a time with a time zone"),
        ("abort", f"{HASH}\n", "must be at most 512 printable characters"),
        ("abort", "x" * 513, "must be at most 512 printable characters"),
    ],
)
def test_what_cannot_be_read_says_where_what_and_what_would_be_right(verb: str, value: str, complaint: str) -> None:
    (request,) = requests_of(body(**{verb: value}), Rollout())

    assert request.problem.startswith(f"annotation tritonfleet.dev/{verb} is '{value[:60].rstrip()}")
    assert complaint in request.problem


def test_a_field_that_cannot_be_read_is_named_as_a_field() -> None:
    (request,) = asked(Rollout(promote="newest"))

    assert request.problem.startswith("rollout.promote is 'newest': must name a revision")


def test_the_same_at_another_time_is_another_request() -> None:
    (first,), (again,) = asked(pause=f"{HASH} at={AT}"), asked(pause=f"shop-{HASH} by=ann at={AT}")
    (later,) = asked(pause=f"{HASH} at=2026-01-31T12:00:01Z")

    assert first.id == again.id != later.id


def test_unreadable_sources_are_distinguished() -> None:
    (first,), (again,), (other,) = asked(abort="bad one"), asked(abort="bad one"), asked(abort="bad two")

    assert first.id == again.id != other.id


def test_requests_come_in_the_order_of_their_times() -> None:
    found = asked(
        Rollout(retry="again"),
        resume=f"{HASH} at=2026-01-31T12:05:00Z",
        pause=f"{HASH} at=2026-01-31T13:00:00+01:00",
    )

    assert [request.verb for request in found] == [Verb.RETRY, Verb.PAUSE, Verb.RESUME]


def test_of_the_same_time_the_safer_comes_first() -> None:
    found = asked(promote=f"{HASH} at={AT}", abort=f"{HASH} at={AT}", approve=f"{HASH}:1 at={AT}")

    assert [request.verb for request in found] == [Verb.ABORT, Verb.APPROVE, Verb.PROMOTE]


@pytest.mark.parametrize(
    ("word", "found"),
    [(HASH, HASH), (f"shop-{HASH}", HASH), ("2", OTHER), (OTHER, OTHER), ("3", None), ("ffffffffff", None), ("", None)],
)
def test_a_word_means_a_revision_that_exists(word: str, found: str | None) -> None:
    assert resolve_revision(word, {HASH: 1, OTHER: 2}) == found


@given(st.sampled_from(Verb), st.text(max_size=700))
def test_any_request_leaves_short_printable_text_in_the_status(verb: Verb, value: str) -> None:
    request = parse_request(verb, value, "shop", f"annotation tritonfleet.dev/{verb}")

    for trace, most in ((request.id, 128), (request.problem, 256), (request.by, 128)):
        assert len(trace) <= most
        assert trace.isprintable()


OWNERS = st.from_regex(r"[a-z][a-z0-9-]{0,50}[a-z0-9]", fullmatch=True)
HASHES = st.from_regex(r"[0-9a-f]{10}", fullmatch=True)
PEOPLE = st.text(st.characters(exclude_categories=("Z", "C")), max_size=128)


@given(st.sampled_from(Verb), OWNERS, HASHES, st.integers(1, 99), PEOPLE)
def test_what_is_written_by_the_rules_is_read_as_it_was_meant(
    verb: Verb, owner: str, revision: str, step: int, person: str
) -> None:
    what = f"{owner}-{revision}" + (f":{step}" if verb is Verb.APPROVE else "")
    request = parse_request(verb, f"{what} at={AT}" + (f" by={person}" if person else ""), owner, "rollout")

    meant = what if verb is Verb.RETRY else revision
    assert request == Request(verb, meant, step if verb is Verb.APPROVE else None, person, AT)


def answered(policy: Rollout, consumed: tuple[str, ...], **annotations: str) -> tuple[str, ...]:
    """Let the rollout answer all that is asked, one request at a time, and return what it remembers."""
    state = State(Phase.STABLE, stable=HASH, consumed=consumed)
    inputs = RolloutInputs(
        HASH, 1, policy, {HASH: RevisionPods(number=1)}, requests=requests_of(body(**annotations), policy)
    )
    for _ in inputs.requests:
        done = answer_request(RolloutContext(state, inputs, NOW))
        state = done.state if done is not None else state
    assert answer_request(RolloutContext(state, inputs, NOW)) is None
    return state.consumed


def test_what_was_answered_is_not_answered_again_however_long_it_stays_on_the_object() -> None:
    policy, kept = Rollout(retry="again", approve=f"{HASH}:1"), {"rollback_to": f"{OTHER} at={AT}"}
    consumed = answered(policy, (), **kept)

    for minute in range(60):
        consumed = answered(policy, consumed, pause=f"{HASH} at=2026-01-31T12:{minute:02}:00Z", **kept)

    assert len(consumed) == CONSUMED_MAX
    assert {request.id for request in requests_of(body(**kept), policy)} <= set(consumed)


def test_an_object_that_asks_for_everything_at_once_comes_to_an_end() -> None:
    policy = Rollout(retry="again", approve=f"{HASH}:1", promote=HASH, abort="3")
    everything = {verb.replace("-", "_"): f"{HASH}:7" if verb is Verb.APPROVE else OTHER for verb in Verb}

    assert len(answered(policy, (), **everything)) == 11
