"""Names, ids and step keys (C1, C10)."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.errors import InvalidEventTypeError, InvalidInstanceIdError, InvalidNameError
from keepstep.model.ids import (
    ID_DRAW_BITS,
    KeySource,
    check_event_type,
    check_instance_id,
    check_name,
    check_workflow_name,
    new_instance_id,
    parse_key,
    step_key,
)
from keepstep.model.limits import Limits
from keepstep.model.status import StepKind

CHECKS = [
    (check_instance_id, 100, InvalidInstanceIdError),
    (check_event_type, 100, InvalidEventTypeError),
    (check_workflow_name, 64, InvalidNameError),
]
names = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=">#\u2028\u2029"),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize(("check", "length_max", "error"), CHECKS)
@given(data=st.data())
def test_tokens_that_are_allowed(check, length_max, error, data):
    """C10: what the pattern allows is returned as it is."""
    token = data.draw(
        st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*\Z", fullmatch=True).filter(lambda t: len(t) <= 64)
    )
    assert check(token) == token
    assert check("a" * length_max)


@pytest.mark.parametrize(("check", "length_max", "error"), CHECKS)
@pytest.mark.parametrize(
    "bad", ["", "-a", "a b", "a/b", "a.b", "ä", "a\n", "a>b", "١", 5, None, b"a"], ids=repr
)
def test_tokens_that_are_refused(check, length_max, error, bad):
    """C10: everything else is an error of its own class that shows the value."""
    with pytest.raises(error, match=re.escape(repr(bad))):
        check(bad)


@pytest.mark.parametrize(("check", "length_max", "error"), CHECKS)
def test_tokens_that_are_too_long(check, length_max, error):
    """C10: one character more than the limit is refused, with both numbers; the value is not repeated in full."""
    with pytest.raises(
        error, match=f"has {length_max + 1} characters; 1 to {length_max} are allowed"
    ) as caught:
        check("a" * (length_max + 1))
    assert "a" * 90 not in str(caught.value)


def test_limits_can_be_set():
    """C10: all limits are configurable."""
    limits = Limits(instance_id_max=3, step_name_max=5)
    with pytest.raises(InvalidInstanceIdError, match="1 to 3"):
        check_instance_id("abcd", limits)
    with pytest.raises(InvalidNameError, match="1 to 5"):
        check_name("do", "abcdef", limits)


@given(names)
def test_names_that_are_allowed(name):
    """C1: a step's name is any text without the reserved characters."""
    assert check_name("do", name) == name


@pytest.mark.parametrize(
    "bad",
    ["", "a>b", "a#2", "a\nb", "\x00", "\x7f", "\x85", "\u2028", "\ud800", "a" * 257, 5, None],
    ids=ascii,
)
def test_names_that_are_refused(bad):
    """C1: ``>``, ``#``, control characters, lone surrogates and a wrong length are refused; the kind is named."""
    with pytest.raises(InvalidNameError, match="of a sleep"):
        check_name("sleep", bad)


@given(st.lists(names).map(tuple), st.sampled_from(StepKind), names, st.integers(1, 10**6))
def test_keys_round_trip(scope, kind, name, n):
    """C1: a key can be taken apart into what it was made of."""
    key = step_key(scope, kind, name, n)
    assert parse_key(key) == (scope, kind, name, n)


@given(
    *[
        st.tuples(
            st.lists(names, max_size=2).map(tuple), st.sampled_from(["do", "wait"]), names, st.integers(1, 3)
        )
    ]
    * 2
)
def test_keys_are_unique(one, other):
    """C1: two steps have one key only if they agree in scope, kind, name and count."""
    assert (step_key(*one) == step_key(*other)) == (one == other)


def test_how_keys_look():
    """C1: the first use has no number; scopes stand before."""
    assert step_key((), "do", "charge", 1) == "do:charge"
    assert step_key((), "do", "charge", 2) == "do:charge#2"
    assert step_key(("item-42",), "do", "charge", 1) == "item-42>do:charge"
    assert step_key(("a", "b"), StepKind.WAIT, "x: y", 3) == "a>b>wait:x: y#3"


@pytest.mark.parametrize(
    "bad", ["", "charge", "do:", ":charge", "do:x#", "do:x#1", "do:x#0", "do:x#a", "do:x#²", "a>b"]
)
def test_what_is_no_key(bad):
    """C1: text that no step has as its key is refused with an example."""
    with pytest.raises(InvalidNameError, match="a key looks like"):
        parse_key(bad)


NOWS = st.integers(0, 2**42 - 1)


@given(NOWS, st.integers(0, 2**128))
def test_new_instance_ids_fit(now, draw):
    """E2: a generated id is a valid id, and says its bits again only if they are the same."""
    made = new_instance_id(now, draw)
    assert check_instance_id(made) == made
    assert len(made) == 24
    assert made == new_instance_id(now, draw % 2**ID_DRAW_BITS)
    assert made != new_instance_id(now, draw ^ 1)


@given(NOWS, NOWS, st.integers(0), st.integers(0))
def test_later_instance_ids_are_greater(one, other, draw, another):
    """E2: ids sort as the instants at which they were made, whatever was drawn, as text does in every database."""
    earlier, later = sorted((one, other))
    assert new_instance_id(earlier, draw) < new_instance_id(later, another) or earlier == later


@given(st.lists(st.integers(0, 2**42 - 1), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_keys_rise_whatever_the_clock_does(times, source):
    """E6: internal keys are positive 63-bit integers and rise, also when the clock stands still or goes back."""
    clock = iter(times)
    keys = KeySource(lambda: next(clock), source.getrandbits)
    made = [keys.next() for _ in times]
    assert made == sorted(set(made))
    assert all(0 < key < 2**63 for key in made)


def test_keys_of_two_processes_differ():
    """E6: two processes that make keys at the same time do not meet."""
    one, other = (KeySource(lambda: 1_700_000_000_000, random.Random(seed).getrandbits) for seed in (1, 2))
    assert not {one.next() for _ in range(10_000)} & {other.next() for _ in range(10_000)}


def test_keys_of_later_processes_are_greater():
    """E6: keys made some minutes later are greater, whichever process made them."""
    early = KeySource(lambda: 1_700_000_000_000, random.Random(1).getrandbits)
    late = KeySource(lambda: 1_700_000_300_000, random.Random(2).getrandbits)
    assert max(early.next() for _ in range(1000)) < late.next()
