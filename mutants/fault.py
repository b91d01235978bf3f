"""What a mutant is: a place in the engine's text, what stands there, and what stands there instead. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CORE = Path("packages/core/src/keepstep")


class StaleError(Exception):
    """The text that a mutant replaces is not there exactly once: the engine has moved on, and the mutant has not."""


class Edit(NamedTuple):
    """One replacement.

    Attributes:
        file: below ``keepstep``.
        old: occurs exactly once in it.
        new: what takes its place.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault of the engine.

    Attributes:
        name: unique, in words joined by hyphens.
        breaks: what is wrong with the engine then, in a sentence without a capital.
        rules: what it violates, by the numbers of semantics.md.
        edits: how it is made.
        expected: numbers of the simulation's invariants of which one should find it.
    """

    name: str
    breaks: str
    rules: tuple[str, ...]
    edits: Sequence[Edit]
    expected: tuple[str, ...]


def mutant(name: str, breaks: str, rules: str, expected: str, *edits: tuple[str, str, str]) -> Mutant:
    """Write down a mutant; rules and expected invariants are separated by spaces."""
    return Mutant(
        name=name,
        breaks=breaks,
        rules=tuple(rules.split()),
        edits=[Edit(*edit) for edit in edits],
        expected=tuple(expected.split()),
    )


def mutated(edits: Sequence[Edit], core: Path = ROOT / CORE) -> Mapping[str, str]:
    """The files that the edits change, with their new text; every result compiles.

    Args:
        edits: of one mutant.
        core: the folder of the package ``keepstep``.

    Raises:
        StaleError: an old text is not there exactly once, or the new one is no Python.
    """
    texts: dict[str, str] = {}
    for file, old, new in edits:
        path = core / file
        if file not in texts and not path.is_file():
            raise StaleError(f"{file} does not exist")
        text = texts.get(file) or path.read_text()
        count = text.count(old)
        if count != 1:
            raise StaleError(f"{file} has {count} times: {old}")
        texts[file] = text.replace(old, new)
    for file, text in texts.items():
        try:
            compile(text, file, "exec")
        except SyntaxError as error:
            raise StaleError(f"{file} does not compile: {error}") from error
    return texts
