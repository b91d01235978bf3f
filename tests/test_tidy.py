"""A ratchet on the shape of the code: lengths, names, words, and where clocks and randomness may be read.

A rule's exceptions stand beside it, each with its reason. An exception that nothing needs any more fails too.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.support.sources import ROOT, Source, files_of_tests, source_files, text_files

FUNCTION_LINES_MAX = 50
CLASS_LINES_MAX = 250
FILE_LINES_MAX = 400

# "module" or "module:function" -> why it explains itself at length
LONG: dict[str, str] = {
    "keepstep.app": "likewise",
    "keepstep.errors": "one tree in one file, so that a reader sees it whole",
    "keepstep.engine.advancer:Advancer": "every way by which a held run goes on, in one place",
    "keepstep_testing.sim.world:World": "the world's loop and what it offers to those who live in it, seen whole",
    "keepstep.app:App": "the composition root: its constructor is spelt three times, for the types of its two forms",
}

# Module (and what lies below it) -> why it may read the world: clocks, randomness, threads, sockets.
WORLDLY = {
    "keepstep.changes": "adapters: files block, so they have a thread; a signature carries the time of its request",
    "keepstep.engine.seams": "the clock, the randomness and the identity that everything else is given",
    "keepstep.http_client.transport": "an adapter: it talks to a server, and waits between two tries",
    "keepstep.engine.workers": "sync steps run in threads",
    "keepstep.store.migrations.upgrade": "Alembic blocks, so it has a thread",
    "keepstep.store.sqlite": "the driver blocks, so it has a thread",
    "keepstep.store.postgres": "an adapter: it talks to a server",
    "keepstep.sync": "sync hosts reach the loop through a thread",
}
WORLD = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|sleep|localtime|gmtime)"
    r"|datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today"
    r"|random\.(?!Random$)\w+|secrets\.\w+|os\.urandom|uuid\.uuid[14]"
    r"|threading\.(Thread|Timer)|concurrent\.futures\.ThreadPoolExecutor|asyncio\.to_thread"
    r"|socket\.\w+|subprocess\.\w+"
)

# Tests that watch real processes may wait for real time; path -> reason.
REAL_TIME: dict[str, str] = {
    "packages/core/tests/durability/changes_program.py": "a process of its own, which waits for a dead one's lease",
    "packages/core/tests/durability/test_changes.py": "it waits for what another process does",
    "packages/core/tests/durability/hooks_program.py": "a process of its own, whose hooks take a while",
    "packages/core/tests/durability/test_hooks.py": "it waits for what another process does",
    "soak/tests/test_load.py": "a machine under load: its step takes a while",
}
# On the workflow loop and in a simulation `asyncio.sleep` is a timer of virtual time and takes none.
VIRTUAL_TIME = ("packages/core/tests/loop/", "packages/testing/tests/test_sim_")

# Modules that are found by name, not imported.
FOUND_BY_NAME = re.compile(r"\.(__main__|plugin|migrations\.(env|versions\.\w+))$")

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
LEFT_UNDONE = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")


def assert_none(offenders: Iterable[str], rule: str) -> None:
    """Fail with one line an offender."""
    listed = sorted(offenders)
    if listed:
        pytest.fail("\n  ".join([rule, *listed]), pytrace=False)


def assert_excused(offenders: Mapping[str, str], excuses: Mapping[str, str], rule: str) -> None:
    """Fail on each offender that has no excuse, and on each excuse that has no offender."""
    assert_none((text for key, text in offenders.items() if key not in excuses), rule)
    assert_none((key for key in excuses if key not in offenders), "no longer needed, take it off the list:")


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """How many lines a definition takes, its decorators not counted."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def too_long(source: Source) -> Iterator[tuple[str, str]]:
    """Each part of a module that is over its limit: (key in LONG, what to print)."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield source.module, f"{source.where}: {lines} lines, at most {FILE_LINES_MAX}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            limit = FUNCTION_LINES_MAX
        elif isinstance(node, ast.ClassDef):
            limit = CLASS_LINES_MAX
        else:
            continue
        if lines_of(node) > limit:
            yield (
                f"{source.module}:{node.name}",
                f"{source.where}:{node.lineno}: {node.name} has {lines_of(node)} lines, at most {limit}",
            )


def test_nothing_is_long():
    """Functions, classes and files stay within the limits."""
    assert_excused(dict(each for source in source_files() for each in too_long(source)), LONG, "too long:")


def test_every_module_says_what_lives_in_it():
    """Each source module begins with a docstring."""
    assert_none((s.where for s in source_files() if not ast.get_docstring(s.tree)), "no module docstring:")


def test_no_vague_file_names():
    """A file is named by a noun of the domain."""
    programs = (path.relative_to(ROOT) for path in text_files() if path.suffix in {".py", ".ts"})
    assert_none((str(path) for path in programs if path.stem in VAGUE_NAMES), "says nothing:")


def test_nothing_is_left_undone():
    """What is not done yet is an issue, not a comment."""
    offenders = (
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if LEFT_UNDONE.search(line)
    )
    assert_none(offenders, "left undone:")


def test_every_text_file_ends_in_one_newline():
    """Files that are not empty end in exactly one newline."""
    texts = ((path, path.read_text()) for path in text_files())
    bad = (
        str(path.relative_to(ROOT))
        for path, text in texts
        if text and (text[-1:] != "\n" or text[-2:] == "\n\n")
    )
    assert_none(bad, "must end in one newline:")


def test_only_adapters_read_the_world():
    """Time reaches decisions as an argument, randomness as a drawn number (B5, A3)."""

    def excuse(module: str) -> str:
        return next((key for key in WORLDLY if f"{module}.".startswith(f"{key}.")), module)

    core = [source for source in source_files() if source.where.startswith("packages/core/")]
    uses = [(s, node, name) for s in core for node, name in s.meant() if WORLD.fullmatch(name)]
    assert_none(
        (f"{s.where}:{node.lineno}: {name}" for s, node, name in uses if excuse(s.module) not in WORLDLY),
        "reads the world outside an adapter:",
    )


def test_no_dead_modules():
    """Each source module is imported by another one, or is a program."""
    programs = {
        line.partition('"')[2].partition(":")[0]
        for path in ROOT.glob("packages/*/pyproject.toml")
        for line in path.read_text().splitlines()
        if re.fullmatch(r'[\w-]+ = "[\w.]+:\w+"', line)
    }
    named = {
        node.value
        for source in source_files()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    users = [*source_files(), *(test for test in files_of_tests() if "packages/testing" in test.where)]
    imported = {name for source in users for name in source.imports()} | named | programs
    modules = (source for source in source_files() if source.path.name != "__init__.py")
    dead = (s.where for s in modules if s.module not in imported and not FOUND_BY_NAME.search(s.module))
    assert_none(dead, "nothing imports:")


def test_a_skip_says_why():
    """A test that does not run gives its reason."""

    def silent(source: Source) -> Iterator[str]:
        calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        reasoned = {
            id(call.func) for call in calls if any(keyword.arg == "reason" for keyword in call.keywords)
        }
        for node, name in source.meant():
            if re.fullmatch(r"pytest\.mark\.(skip|skipif|xfail)", name) and id(node) not in reasoned:
                yield f"{source.where}:{node.lineno}"

    assert_none((each for source in files_of_tests() for each in silent(source)), "skips without a reason:")


def sleeps(source: Source) -> Iterator[ast.Call]:
    """The calls that wait for real time: outside workflow bodies, and longer than a turn of the loop."""
    bodies = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.AsyncFunctionDef) and any(arg.arg == "step" for arg in node.args.args)
    ]
    in_bodies = {id(node) for body in bodies for node in ast.walk(body)}
    names = {id(node): name for node, name in source.meant()}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or id(node) in in_bodies:
            continue
        name = names.get(id(node.func))
        nothing = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if name == "time.sleep" or (name in {"asyncio.sleep", "anyio.sleep"} and not nothing):
            yield node


def test_tests_do_not_sleep():
    """Tests wait for events or move virtual time; only tests of real processes sleep."""
    offenders = {
        source.where: ", ".join(f"{source.where}:{call.lineno}" for call in found)
        for source in files_of_tests()
        if not source.where.startswith(VIRTUAL_TIME) and (found := list(sleeps(source)))
    }
    assert_excused(offenders, REAL_TIME, "sleeps:")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import time as t\nt.time()", "time.time"),
        ("from datetime import datetime as dt\ndt.now()", "datetime.datetime.now"),
        ("from time import monotonic\nclock = monotonic", "time.monotonic"),
        ("import os.path\nos.urandom(1)", "os.urandom"),
    ],
)
def test_a_name_is_known_under_any_alias(tmp_path, code, name):
    """The ratchet sees through aliases."""
    path = tmp_path / "module.py"
    path.write_text(code)
    meant = [name for _, name in Source(path).meant()]
    assert name in meant
    assert WORLD.fullmatch(name)
