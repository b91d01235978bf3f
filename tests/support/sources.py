"""What tests about the project itself read: its files, its source modules, and the names that code means."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "packages",
    "tests",
    "examples",
    "docs",
    "scripts",
    "soak",
    "mutants",
    "bench",
    "requirements",
    "changelog.d",
    ".ci",
)
BUILT = {".cache", "__pycache__", "node_modules", "dist", ".wrangler"}


@dataclass(frozen=True)
class Source:
    """One Python file of the project."""

    path: Path

    @cached_property
    def text(self) -> str:
        """The file's text."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """The file's syntax tree."""
        return ast.parse(self.text, self.path)

    @property
    def where(self) -> str:
        """The path from the project's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        """The dotted name under which a file below `src` is imported."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        parts = parts[parts.index("src") + 1 :]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self) -> Iterator[str]:
        """Each module, and each name taken from one, that the file imports anywhere."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def meant(self) -> Iterator[tuple[ast.expr, str]]:
        """Each dotted name that the file uses, with its head as it was imported: `t.time` -> `time.time`."""
        known: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                known |= {
                    a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                    for a in node.names
                }
            elif isinstance(node, ast.ImportFrom) and node.module:
                known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name | ast.Attribute):
                head, _, rest = ast.unparse(node).partition(".")
                if head in known:
                    yield node, f"{known[head]}.{rest}" if rest else known[head]


@cache
def text_files() -> tuple[Path, ...]:
    """Every text file of the project, without what is built."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != "uv.lock"]
    for folder in FOLDERS:
        found += [
            path for path in (ROOT / folder).rglob("*") if path.is_file() and not BUILT & set(path.parts)
        ]
    return tuple(sorted(path for path in found if b"\0" not in path.read_bytes()))


@cache
def source_files() -> tuple[Source, ...]:
    """The packages' own modules."""
    return tuple(Source(path) for path in sorted(ROOT.glob("packages/*/src/**/*.py")))


@cache
def files_of_tests() -> tuple[Source, ...]:
    """Every Python file that tests, or helps to; but the examples, which show what users write."""
    folders = [ROOT / "tests", *ROOT.glob("packages/*/tests"), ROOT / "bench/tests", ROOT / "soak/tests"]
    return tuple(Source(path) for folder in folders for path in sorted(folder.rglob("*.py")))
