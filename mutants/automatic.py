"""Mutants that nobody thought of: every small change of the engine's decisions, and a sample of them.

A site is an expression or statement of which a variant is another program: a comparison moved by one, a condition
turned round, ``and`` for ``or``, a number one more, a statement left out, an argument left out, the other extreme, the
other branch. What only words, types or assertions say is left alone.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mutants.fault import CORE, ROOT
from mutants.variants import Variant, expressions, statements

FILES = ("kernel/*.py", "loop/journal.py", "engine/committer.py", "store/claims.py", "store/rescue.py")
"""What is changed, below ``keepstep``."""

_SILENT = ("log.", "probe", "sometimes", "print")
_LEFT_ALONE = (ast.Assert, ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


@dataclass(frozen=True)
class Change:
    """One automatic mutant.

    Attributes:
        file: below ``keepstep``.
        place: the function or class around it, ``module`` outside of any.
        what: the old and the new text.
        line: where, from 1.
        text: the file's new text.
    """

    file: str
    place: str
    what: str
    line: int
    text: str

    @property
    def name(self) -> str:
        """What it is called: the same as long as its own lines are the same."""
        return f"{self.file} {self.place}: {self.what}"


def changes(core: Path = ROOT / CORE) -> list[Change]:
    """Every change of every file, in the files' order; names are unique."""
    found: dict[str, Change] = {}
    for pattern in FILES:
        for path in sorted(core.glob(pattern)):
            file = path.relative_to(core).as_posix()
            for change in _changes_of(file, path.read_text()):
                number = sum(each == change.name or each.startswith(f"{change.name} #") for each in found)
                named = replace(change, what=f"{change.what} #{number + 1}") if number else change
                found[named.name] = named
    return list(found.values())


def sample(count: int, seed: int, core: Path = ROOT / CORE) -> list[Change]:
    """So many of them at random, all if there are no more; a larger sample begins with the smaller one."""
    all_ = changes(core)
    random.Random(seed).shuffle(all_)  # noqa: S311 - repeatable is what is wanted
    return all_[:count]


def _changes_of(file: str, text: str) -> Iterator[Change]:
    source = text.encode()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, place, variant in _variants(ast.parse(text), "module"):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        old = source[begin:end].decode()
        new = (source[:begin] + variant.text.encode() + source[end:]).decode()
        if new != text and _compiles(new):
            what = _short(variant.what or f"`{' '.join(old.split())}` → `{variant.text}`")
            yield Change(file, place, what, node.lineno, new)


def _variants(node: ast.AST, place: str) -> Iterator[tuple[ast.expr | ast.stmt, str, Variant]]:
    """Each node that can be changed, the place it is in, and what it becomes."""
    if _says_nothing(node):
        return
    if isinstance(node, ast.expr):
        yield from ((node, place, variant) for variant in expressions(node))
    elif isinstance(node, ast.stmt):
        yield from ((node, place, variant) for variant in statements(node))
    for child in _children(node):
        yield from _variants(child, _place(child, place))


def _children(node: ast.AST) -> Sequence[ast.AST]:
    """What is looked at below a node: no annotations, no decorators, no defaults of types."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [each for each in [*node.args.defaults, *node.args.kw_defaults, *node.body] if each]
        case ast.ClassDef():
            return node.body
        case ast.AnnAssign():
            return [node.value] if node.value is not None else []
        case ast.Subscript():
            return [node.value] if isinstance(node.value, ast.Call) else []
        case _:
            return list(ast.iter_child_nodes(node))


def _place(node: ast.AST, place: str) -> str:
    """A statement of a module is named by what it makes: claims are statements of SQL."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name if place == "module" else f"{place}.{node.name}"
    if place == "module" and isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return ast.unparse(target)
    return place


def _says_nothing(node: ast.AST) -> bool:
    """Whether nothing of a node decides anything: words, types, assertions, what is said to a log."""
    if isinstance(node, _LEFT_ALONE):
        return True
    if isinstance(node, ast.Expr):
        value = node.value
        return isinstance(value, ast.Constant) or ast.unparse(value).startswith(_SILENT)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}
    if isinstance(node, ast.Assign):  # one more or less of a limit or a pause is a matter of taste
        return isinstance(node.value, ast.Constant) and ast.unparse(node.targets[0]).isupper()
    return False


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= 150 else f"{text[:110]} … {text[-37:]}"
