"""docs/reference/coverage.md: which tests show which rule and which requirement. A rule or requirement without fails.

Tests cite the rules that they show in their docstrings ("(B3, E7)", "E3: …", "defect 1"); modules cite those that they
keep. Titles, and what is known of each requirement, stand in coverage.toml. `python tests/test_coverage.py` writes the
page anew.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from keepstep.model.status import Status, StepStatus  # noqa: E402
from tests.support.sources import Source, source_files  # noqa: E402  # as a program it is not on the path

PAGE = ROOT / "docs/reference/coverage.md"
SUITES = ROOT / "packages/testing/src/keepstep_testing/conformance"
TESTS = (
    "packages/*/tests/**/*.py",
    f"{SUITES.relative_to(ROOT)}/**/*.py",
    "tests/**/*.py",
    "examples/**/test_*.py",
    "bench/tests/*.py",
)
KNOWN: dict[str, Any] = tomllib.loads((ROOT / "tests/coverage.toml").read_text())
REQUIREMENTS = {"S0": 70, "S1": 43, "S2": 32, "S3": 47, "S4": 47}
NOT_YET = {
    "C7": "activities and heartbeats",
    "C9": "compensation",
    "E5": "rollback at a termination; what children do",
    "E8": "children",
    "E9": "queries and updates",
    "E10": "several versions at once and `step.patched`",
}
"""Rules of which something is not built: what brings it. Tests of the part that is there are listed all the same."""
NAMED_MAX = 12
CITED = re.compile(r"\b([A-H])(\d+)(?:[-–](?:\1)?(\d+))?\b|\bH\b|\b[Dd]efects? (\d+)(?: and (\d+))?")


def cited(docstring: str | None) -> Iterator[str]:
    """The rules and defects that a docstring names; ranges are all that they span."""
    for letter, first, last, *defects in CITED.findall(docstring or ""):
        if letter:
            yield from (f"{letter}{number}" for number in range(int(first), int(last or first) + 1))
        else:
            yield from [f"defect {each}" for each in defects if each] or ["H"]


def shown(path: Path) -> str:
    """A test file, short: `store/test_pace.py`."""
    if path.is_relative_to(SUITES):
        return str(path.relative_to(SUITES.parent))
    parts = path.relative_to(ROOT).parts
    left_out = {"packages", "core", "tests"} if len(parts) > 2 else set[str]()
    return "/".join(part for part in parts if part not in left_out)


@cache
def proofs() -> dict[str, frozenset[str]]:
    """Every test, as `file::name`, with what it cites."""
    found: dict[str, frozenset[str]] = {}
    for pattern in TESTS:
        for path in sorted(ROOT.glob(pattern)):
            if path.parent.name == "typing":
                found[shown(path)] = frozenset()  # a program that only the type checker runs
            for node in ast.walk(Source(path).tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    found[f"{shown(path)}::{node.name}"] = frozenset(cited(ast.get_docstring(node)))
    return found


@cache
def modules() -> dict[str, frozenset[str]]:
    """Every module, without `keepstep.`, with the rules that its docstrings cite."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {
        source.module.removeprefix("keepstep."): frozenset(
            rule
            for node in ast.walk(source.tree)
            if isinstance(node, kinds)
            for rule in cited(ast.get_docstring(node))
        )
        for source in source_files()
        if not source.path.is_relative_to(SUITES)
    }


def shows(rule: str) -> list[str]:
    """The tests that cite a rule."""
    return [test for test, rules in proofs().items() if rule in rules]


def titled() -> dict[str, str]:
    """Every rule and defect with its title."""
    return KNOWN["rules"] | {f"defect {number}": title for number, title in KNOWN["defects"].items()}


def requirements() -> dict[str, dict[str, Any]]:
    """Every requirement by its id."""
    return {f"{each}-{number}": known for each in REQUIREMENTS for number, known in KNOWN[each].items()}


def rule_lines(rule: str, title: str) -> Iterator[str]:
    """One rule's part of the page."""
    found = shows(rule)
    yield from ("", f"### {rule}: {title}")
    if rule in NOT_YET:
        yield from ("", f"{'The rest comes' if found else 'Comes'} with its issue: {NOT_YET[rule]}.")
    if where := [f"`{module}`" for module, rules in modules().items() if rule in rules]:
        yield from ("", f"In {', '.join(where)}.")
    yield from [""] if found else ()
    by_file = defaultdict[str, list[str]](list)
    for file, _, name in (test.partition("::") for test in found):
        by_file[file].append(f"`{name}`")
    for file, names in by_file.items():
        yield f"- `{file}`: {', '.join(names) if len(found) <= NAMED_MAX else len(names)}"


def requirement_line(name: str, known: dict[str, Any]) -> str:
    """One requirement's row."""
    where = ", ".join(f"`{module}`" for module in known.get("where", "").split())
    if "later" in known:
        how = f"later: {known['later']}" + (f"; {known['note']}" if "note" in known else "")
    else:
        how = f"built otherwise: {known['otherwise']}; {where}" if "otherwise" in known else f"built: {where}"
    proof = "<br>".join(f"`{test}`" for test in known.get("tests", ()))
    return f"| {name} | {known['what']} | {how} | {proof} |"


def counts(section: str) -> str:
    """How many of a section's requirements are built, built otherwise, and come later."""
    all_known = KNOWN[section].values()
    later, otherwise = (sum(status in known for known in all_known) for status in ("later", "otherwise"))
    return f"| {section} | {len(all_known) - later - otherwise} | {otherwise} | {later} |"


def page() -> str:
    """The whole page."""
    built = sum(bool(shows(rule)) and rule not in NOT_YET for rule in titled())
    told = f"Of {len(titled())} rules and defects {built} are built and have tests; the others, in part or not yet:"
    lines = [KNOWN["head"].strip(), "", "| | built | built otherwise | later |", "|---|---|---|---|"]
    lines += [*map(counts, REQUIREMENTS), "", told, ""]
    lines += [f"- {rule}: {brings} ({len(shows(rule))} tests)" for rule, brings in NOT_YET.items()]
    lines += ["", "## Rules", *(line for known in titled().items() for line in rule_lines(*known))]
    for section, title in KNOWN["sections"].items():
        lines += ["", f"## {section}: {title}", "", "| id | what | how | shown by |", "|---|---|---|---|"]
        lines += [requirement_line(f"{section}-{number}", known) for number, known in KNOWN[section].items()]
    lines += ["", "## What later means", "", "| | brings | ids |", "|---|---|---|"]
    for group, brings in KNOWN["later"].items():
        ids = ", ".join(name for name, known in requirements().items() if known.get("later") == group)
        lines.append(f"| {group} | {brings} | {ids} |")
    return "\n".join(lines) + "\n"


def test_every_rule_and_defect_is_shown_by_a_test():
    """What the semantics number is cited by a test, unless it says which issue builds it."""
    assert [rule for rule in titled() if not shows(rule) and rule not in NOT_YET] == []
    semantics = (ROOT / "docs/reference/semantics.md").read_text()
    numbered = {*re.findall(r"^- \*\*([A-G]\d+)\*\*", semantics, re.MULTILINE), "H"}
    assert numbered == set(KNOWN["rules"])
    assert list(KNOWN["defects"]) == [str(number) for number in range(1, 18)]


def test_no_test_cites_what_is_no_rule():
    """A citation that leads nowhere is a slip."""
    assert {test: wrong for test, rules in proofs().items() if (wrong := rules - titled().keys())} == {}


def test_every_requirement_has_its_status():
    """Each id once; what is built names modules and tests that exist, what is not names what brings it."""
    assert list(requirements()) == [
        f"{s}-{n}" for s, most in REQUIREMENTS.items() for n in range(1, most + 1)
    ]
    for name, known in requirements().items():
        assert set(known) <= {"what", "where", "tests", "otherwise", "later", "note"}, name
        assert set(known.get("where", "").split()) <= modules().keys(), name
        assert set(known.get("tests", ())) <= proofs().keys(), name
        assert "later" in known or (known["where"] and known["tests"]), name


def test_the_vocabulary_maps_every_status():
    """E1: beside each status of instances and steps docs/reference/vocabulary.md has other systems' words for it."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/vocabulary.md").read_text(), re.MULTILINE)
    assert {status.value for status in (*Status, *StepStatus)} <= set(rows)


def test_the_page_of_coverage_is_up_to_date():
    """docs/reference/coverage.md is generated from the tests' docstrings and coverage.toml."""
    assert PAGE.read_text() == page(), "stale: run `python tests/test_coverage.py`"


if __name__ == "__main__":
    sys.exit(PAGE.write_text(page()) == 0)
