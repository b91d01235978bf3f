"""The packages' public names and their signatures are what `public_api.txt` says; `make api` writes it anew."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "keepstep",
    "keepstep.changes",
    "keepstep.client",
    "keepstep.routes",
    "keepstep_node",
    "keepstep_cloudflare",
    "keepstep_testing",
    "keepstep_testing.conformance.dispatchers",
)
SNAPSHOT = Path(__file__).with_name("public_api.txt")
CORE_NAMES_MAX = 40


def exported() -> Iterator[tuple[str, str, object]]:
    """Each public symbol: its package, its name, itself."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(getattr(module, "__all__", ())):
            yield package, name, getattr(module, name)


def definition(value: object) -> ast.stmt | None:
    """The statement that defines a class or function, from its source: the same on every Python."""
    target = inspect.unwrap(value) if callable(value) else value
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        return None
    return ast.parse(textwrap.dedent(inspect.getsource(target))).body[0]


def heading(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A function's name and signature in one line."""
    colour = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{colour}{node.name}({ast.unparse(node.args)}){returns}"


def described(name: str, value: object) -> Iterator[str]:
    """What a user may rely on, line by line: a signature, or bases, fields and methods of a class."""
    match definition(value):
        case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
            yield heading(node)
        case ast.ClassDef() as node:
            yield f"class {name}({', '.join(map(ast.unparse, [*node.bases, *node.keywords]))})"
            for member in node.body:
                match member:
                    case ast.FunctionDef() | ast.AsyncFunctionDef() if is_public(member.name):
                        property_ = (
                            "property " if "property" in map(ast.unparse, member.decorator_list) else ""
                        )
                        yield f"    {property_}{heading(member)}"
                    case ast.AnnAssign(target=ast.Name(id=field)) if is_public(field):
                        yield f"    {ast.unparse(member)}"
                    case _:
                        pass
        case _:
            yield f"{name}: {type(value).__name__}"


def is_public(name: str) -> bool:
    """Whether a member is for users: plain names, construction, and what `with` and `await` call."""
    return not name.startswith("_") or name in {
        "__init__",
        "__call__",
        "__aenter__",
        "__enter__",
        "__await__",
    }


def snapshot() -> str:
    """The whole public face as text."""
    lines = [f"{package}: {line}" for package, name, value in exported() for line in described(name, value)]
    return "".join(f"{line}\n" for line in lines)


def test_public_names_and_signatures():
    """A change of the public face is made on purpose: it shows in the snapshot's diff."""
    assert snapshot() == SNAPSHOT.read_text(), "the public face changed; if that is meant, run `make api`"


def test_the_core_has_a_small_face():
    """A reader can hold the core's names in mind."""
    names = [name for package, name, _ in exported() if package == "keepstep"]
    assert len(names) <= CORE_NAMES_MAX, f"{len(names)} names, at most {CORE_NAMES_MAX}"


def test_each_symbol_is_public_in_one_place():
    """No class or function has two public names."""
    places: dict[int, list[str]] = {}
    for package, name, value in exported():
        if inspect.isclass(value) or inspect.isfunction(value):
            places.setdefault(id(value), []).append(f"{package}.{name}")
    assert [names for names in places.values() if len(names) > 1] == []


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot())
