"""The register of invariants: each a function with a number of simulation.md's list, a kind and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from keepstep_testing.sim.oracle.ghost import Commit, Ghost

Kind = Literal["S", "F", "L", "Q", "D"]
"""Safety at each commit · at the end (final) · liveness in the fair phase · quality of a calm run · two runs compared."""

Check = Callable[["Ghost", Any], Iterator[str]]


class Violation(AssertionError):  # noqa: N818  # it is what the world says of the engine
    """An invariant does not hold.

    Attributes:
        rule: which one.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"invariant {rule}: {text}")
        self.rule = rule
        self.text = text


@dataclass(frozen=True, slots=True)
class Rule:
    """One invariant.

    Attributes:
        number: of simulation.md's list, or a rule of semantics.md for one of ours.
        kind: when it is checked.
        title: what must hold.
        check: yields a text for each offence.
        tables: at each commit: only if one of these changed.
    """

    number: str
    kind: Kind
    title: str
    check: Check
    tables: frozenset[str]


RULES: dict[str, Rule] = {}
"""By number."""


def rule(number: str, kind: Kind, title: str, *tables: str) -> Callable[[Check], Check]:
    """Register an invariant."""

    def registered(check: Check) -> Check:
        assert number not in RULES, f"two rules are called {number}"
        RULES[number] = Rule(number, kind, title, check, frozenset(tables))
        return check

    return registered


def on_commit(commit: Commit, ghost: Ghost) -> None:
    """Check what must hold at each commit.

    Raises:
        Violation: the first that does not.
    """
    touched = frozenset(commit.of)
    concerned = _CONCERNED.get(touched)
    if concerned is None:
        concerned = _CONCERNED[touched] = [each for each in _SAFETY if touched & each.tables]
    for each in concerned:
        for offence in each.check(ghost, commit):
            raise Violation(each.number, offence)


def at(kind: Kind, ghost: Ghost, world: Any) -> None:
    """Check all rules of a kind that is not checked by commit.

    Raises:
        Violation: the first that does not hold.
    """
    for each in RULES.values():
        if each.kind == kind and not each.tables:
            for offence in each.check(ghost, world):
                raise Violation(each.number, offence)


_SAFETY: list[Rule] = []
_CONCERNED: dict[frozenset[str], list[Rule]] = {}
"""By the tables that a commit changed."""


def sealed() -> None:
    """Every rule is registered: sort them out."""
    _SAFETY[:] = [each for each in RULES.values() if each.tables]
