"""What a node of Python can be changed into: one operator each. Which nodes are changed is decided elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import NamedTuple

_COMPARISONS: Mapping[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
_OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any", "is_": "is_not", "is_not": "is_"}
_CONJUNCTIVE = {"where", "exists"}
_ONLY_WORDS = {"type_", "label", "name"}


class Variant(NamedTuple):
    """A change.

    Attributes:
        text: what takes the node's place.
        what: the change in words; empty = the old and the new text say it.
    """

    text: str
    what: str = ""


def expressions(node: ast.expr) -> Iterator[Variant]:
    """The variants of an expression; in parentheses, so that they stay one."""
    if isinstance(node, ast.Call):
        yield from _calls(node)
    for variant in _expressions(node):
        text = ast.unparse(ast.fix_missing_locations(variant))
        yield Variant(text if isinstance(variant, ast.Constant) else f"({text})")


def statements(node: ast.stmt) -> Iterator[Variant]:
    """The variants of a statement."""
    match node:
        case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()) | ast.AugAssign():
            yield Variant("pass", f"without `{_one_line(node)}`")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.Delete():
            yield Variant("pass", f"without `{_one_line(node)}`")
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield Variant("return None", f"None for `{_one_line(value)}`")
        case ast.Break():
            yield Variant("continue")
        case ast.Continue():
            yield Variant("break")
        case ast.If() | ast.While():
            yield Variant(_turned(node), f"`{_one_line(node.test)}` turned round")
        case _:
            return


def _expressions(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=[op]):
            for other in _COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            yield operand
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(op)](), node.right)
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case _:
            return


def _calls(node: ast.Call) -> Iterator[Variant]:
    """Without one argument by name, without one of several conditions, the opposite function."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for number, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in _ONLY_WORDS:
            fewer = deepcopy(node)
            del fewer.keywords[number]
            yield Variant(ast.unparse(fewer), f"{name}(…) without `{_one_line(keyword)}`")
    if name in _CONJUNCTIVE and len(node.args) > 1:
        for number, argument in enumerate(node.args):
            fewer = deepcopy(node)
            del fewer.args[number]
            yield Variant(ast.unparse(fewer), f"{name}(…) without `{_one_line(argument)}`")
    if name in _OPPOSITES:
        other = deepcopy(node)
        if isinstance(other.func, ast.Attribute):
            other.func.attr = _OPPOSITES[name]
        else:
            other.func = ast.Name(_OPPOSITES[name])
        yield Variant(ast.unparse(other))


def _turned(node: ast.If | ast.While) -> str:
    """The whole statement with its condition turned round; its body is as it was but for comments."""
    turned = deepcopy(node)
    turned.test = ast.UnaryOp(ast.Not(), node.test)
    lines = ast.unparse(ast.fix_missing_locations(turned)).splitlines()
    return ("\n" + " " * node.col_offset).join(lines)


def _one_line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
