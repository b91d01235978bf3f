"""Runs the Python blocks of one Markdown file as one program: `python -m tests.support.run_document FILE`.

Blocks stand at their own line numbers, so that a traceback names the document's line; `await` works at
the top level. A block that cannot run says so and why: ```` ```python no-run: needs an account ````.
"""

import ast
import asyncio
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import __main__  # noqa: F401  # its names must outlive its place in sys.modules

FENCE = re.compile(
    r"^(?P<indent> *)```python(?P<options>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


def program(document: str) -> str:
    """The document's blocks, each at its line, everything else blank."""
    lines = [""] * document.count("\n")
    for block in FENCE.finditer(document):
        options = block["options"].strip()
        if options.startswith("no-run"):
            assert re.fullmatch(r"no-run: \S.+", options), f"a block that does not run says why: {options!r}"
            continue
        start = document.count("\n", 0, block.start("code"))
        code = textwrap.dedent(block["code"]).splitlines()
        lines[start : start + len(code)] = code
    return "\n".join(lines)


def main(path: Path) -> None:
    """Run the document's program as a `__main__` of its own."""
    sys.modules["__main__"] = module = ModuleType("__main__")
    code = compile(program(path.read_text()), path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, vars(module))
    if inspect.iscoroutine(result):
        asyncio.run(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
