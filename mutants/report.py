"""The page of mutants: what was done to the engine, and what noticed it. One half a table, each written by its own run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bench import machine
from mutants.automatic import FILES
from mutants.campaign import Judged
from mutants.catalogue import CATALOGUE
from mutants.fault import ROOT, Mutant
from mutants.reasons import REASONS

PAGE = ROOT / "docs/reference/mutants.md"
HEAD = """\
# Mutants

<!-- Written by `make mutants`. Change mutants/, not this page. -->

A test that cannot fail proves nothing. So faults are put into the real engine, one at a time, and the simulation has
to find each of them: a *mutant* is a copy of the engine with one fault, *killed* when a schedule breaks an invariant.
`make mutants` does it again; `mutants/README.md` says how.

"""
MARK = "<!-- {edge}: {part} -->"


def by_hand(judged: Sequence[Judged], seconds: float) -> str:
    """The table of the catalogue."""
    found = {each.mutant.name: each for each in judged}
    played = [each for each in judged if each.simulated.state == "killed"]
    tested = [each for each in judged if each.tested is not None and each.tested.state == "killed"]
    lines = [
        "## By hand",
        "",
        (
            f"Of {len(judged)} mutants {len(played)} were killed by the simulation, within {seconds:g} s of the processor "
            f"each, and {len(tested)} more by the unit tests of what they change. {about()}"
        ),
        "",
        _spread(played),
        "",
    ]
    for theme, mutants in CATALOGUE.items():
        lines += [f"### {theme}", "", "| mutant | what is broken | rules | noticed by | schedules | s |"]
        lines += ["|---|---|---|---|--:|--:|"]
        lines += [_row(each, found.get(each.name)) for each in mutants]
        lines += [""]
    return "\n".join(lines)


def automatic(judged: Sequence[Judged], seconds: float, seed: int, of: int) -> str:
    """The summary of a sample, and who survived."""
    counts = Counter(map(_how, judged))
    caught = sum(each.caught for each in judged)
    reasoned = sum(not each.caught and each.mutant.name in REASONS for each in judged)
    of_what = (
        f"A sample (seed {seed}) of {len(judged)} of the {of:,} small changes of {', '.join(f'`{f}`' for f in FILES)}. "
        f"The simulation has {seconds:g} s for each; what passes is left to the unit tests of its layer. {about()}"
    )
    share = (
        f"{caught} of {len(judged)} ({100 * caught / max(1, len(judged)):.0f} %) were noticed; of those that are "
        f"another program to somebody, {caught} of {len(judged) - reasoned}."
    )
    lines = [
        "## Automatic",
        "",
        of_what,
        "",
        "| noticed by | mutants |",
        "|---|--:|",
        *(f"| {how} | {counts[how]} |" for how in _HOWS if counts[how]),
        "",
        share,
        "",
        "### Survivors",
        "",
        "| mutant | why |",
        "|---|---|",
        *(_survivor(each.mutant.name) for each in judged if not each.caught),
        "",
        "### All of them",
        "",
        "| mutant | noticed by | schedules | s |",
        "|---|---|--:|--:|",
        *(_automatic_row(each) for each in judged),
        "",
    ]
    return "\n".join(lines)


def write(part: str, text: str) -> None:
    """Put a part in its place on the page."""
    page = PAGE.read_text() if PAGE.exists() else HEAD
    begin, end = MARK.format(edge="begin", part=part), MARK.format(edge="end", part=part)
    new = f"{begin}\n\n{text.strip()}\n\n{end}"
    if begin in page:
        page = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: new, page, flags=re.DOTALL)
    else:
        page = f"{page.rstrip()}\n\n{new}\n"
    PAGE.write_text(HEAD + page[page.index("<!-- begin") :])


def names_on_page() -> list[str]:
    """The mutants by hand that the page names, in its order."""
    begin, _, rest = PAGE.read_text().partition(MARK.format(edge="begin", part="by hand"))
    table = rest.partition(MARK.format(edge="end", part="by hand"))[0] if begin else ""
    return re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)


def about() -> str:
    """Where and when."""
    known = machine.about(None)
    day = datetime.now(UTC).date().isoformat()
    return f"Measured on {day}, {known['cores']} cores ({known['processor']}), Python {known['Python']}."


def _spread(judged: Sequence[Judged]) -> str:
    played = sorted(each.simulated.schedules for each in judged)
    took = sorted(each.simulated.seconds for each in judged)
    if not played:
        return ""
    middle = len(played) // 2
    return (
        f"Schedules until the first failure: {played[middle]:,} in the median, {played[-1]:,} at worst; "
        f"seconds: {took[middle]:.1f} and {took[-1]:.1f}, the start of a process included."
    )


def _row(mutant: Mutant, judged: Judged | None) -> str:
    rules = " ".join(mutant.rules)
    if judged is None:
        return f"| `{mutant.name}` | {mutant.breaks} | {rules} | *not judged* | | |"
    verdict = judged.verdicts[-1]
    by = verdict.by if verdict.state == "killed" else f"**{verdict.state}** {verdict.by}".strip()
    seconds = judged.simulated.seconds
    return (
        f"| `{mutant.name}` | {mutant.breaks} | {rules} | {_cell(by)} | "
        f"{judged.simulated.schedules:,} | {seconds:.1f} |"
    )


_HOWS = ("the simulation", "unit tests", "nothing runs", "something does not end", "nobody")


def _how(judged: Judged) -> str:
    verdict = judged.verdicts[-1]
    match verdict.state:
        case "killed":
            return "unit tests" if judged.tested else "the simulation"
        case "broken":
            return "nothing runs"
        case "timeout":
            return "something does not end"
        case _:
            return "nobody"


def _automatic_row(judged: Judged) -> str:
    verdict = judged.verdicts[-1]
    by = {"killed": verdict.by, "survived": "**nobody**"}.get(verdict.state, f"{_how(judged)}: {verdict.by}")
    schedules = f"{judged.simulated.schedules:,}"
    seconds = judged.simulated.seconds + (judged.tested.seconds if judged.tested else 0)
    return f"| {_cell(judged.mutant.name)} | {_cell(by)} | {schedules} | {seconds:.1f} |"


def _survivor(name: str) -> str:
    return f"| {_cell(name)} | {REASONS.get(name, '**unexplained**')} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def known(reasons: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """The reasons that are given for mutants that are not there any more."""
    return sorted(set(reasons) - set(names))
