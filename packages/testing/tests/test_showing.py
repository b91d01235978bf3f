"""``--sim-trace`` and ``--sim-workers``: what happened in a failing run, and several processes that look for one."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from keepstep_testing import DurabilityError, Simulation, crash_everywhere, explore, settings
from keepstep_testing.runs import MISHAP
from keepstep_testing.settings import Settings
from keepstep_testing.sim.trace import Line
from keepstep_testing.tracepage import page_of
from tests.support import mistakes

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("own_settings")

LINES = [
    Line(0, "runner-1", "commit:begin", "create <b> & go", "first"),
    Line(2_500_000, "runner-1", MISHAP, "crash at commit:begin", ""),
    Line(2_600_000, "runner-2", "claim:begin", "", ""),
]


class Cells(HTMLParser):
    """The table of a page, and what it would load from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.marked: list[int] = []
        self.loads: list[str] = []
        self._in = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A row, a cell, or something that has an address."""
        given = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag == "tr":
            self.rows.append([])
            self.marked += [len(self.rows) - 1] if given.get("class") == "struck" else []
        self._in = tag in {"td", "th", "small"} or (self._in and tag == "br")
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        """What a cell says."""
        if self._in:
            self.rows[-1][-1] += f" {data}"


def test_a_page_has_a_column_for_each_actor_and_a_row_for_each_moment() -> None:
    """Time, actor, gate and what it saw, escaped; a mishap is marked; nothing is loaded from anywhere."""
    found = Cells(page_of("title", "it <failed>", LINES))
    assert [[each.strip() for each in row] for row in found.rows] == [
        ["time, s", "runner-1", "runner-2"],
        ["0.000000", "commit:begin create <b> & go first", ""],
        ["2.500000", "mishap crash at commit:begin", ""],
        ["2.600000", "", "claim:begin"],
    ]
    assert found.marked == [2]
    assert found.loads == []
    assert "it &lt;failed&gt;" in page_of("title", "it <failed>", LINES)


async def _pays(sim: Simulation) -> None:
    sim.effect(mistakes.charge, returns="n-1")
    await sim.start(mistakes.in_thread, 5, id="o-1")
    await sim.settle()


def failing() -> str:
    """What an exploration says of a workflow that charges twice."""
    with pytest.raises(DurabilityError) as found:
        explore(_pays, schedules=400, budget="60s", name="pays")
    return str(found.value)


def test_a_failing_schedule_is_shown_as_text_or_as_a_page() -> None:
    """Both with the moment at which it was struck."""
    settings.use(Settings(trace="text"))
    assert re.search(rf"runner-\d +{MISHAP} +\w+ at ", failing())
    settings.use(Settings(trace="html"))
    said = failing()
    assert MISHAP not in said
    (named,) = re.findall(r"what happened is shown in (\S+)", said)
    page = Cells(Path(named).read_text())
    assert len(page.marked) == 1
    assert len(page.rows) > 20


def test_a_failing_case_is_shown_too() -> None:
    """Of ``crash_everywhere``."""
    settings.use(Settings(trace="html"))
    with pytest.raises(DurabilityError, match=r"shown in \.sim_failures/in-thread-crash-at-\S+\.html"):
        crash_everywhere(mistakes.in_thread, params=5, effects={mistakes.charge: "n-1"})


def test_workers_find_what_one_process_finds() -> None:
    """The failure is played again, made smaller and saved by the process that asked."""
    settings.use(Settings(workers=2))
    said = failing()
    seed = int(re.findall(r"\(seed (\d+)\)", said)[0])
    settings.use(Settings(seed=seed))
    assert said.splitlines()[2:] == failing().splitlines()[2:]


def test_workers_share_the_runs() -> None:
    """Each plays other seeds; their counts are one report; the calm run is played by the one that asks."""

    async def fine(sim: Simulation) -> None:
        sim.stub("take", returns="n-1")
        await (await sim.start(mistakes.in_thread, 5)).result()
        sim.sometimes("drawn", sim.world.picks)

    settings.use(Settings(workers=3))
    found = explore(fine, schedules=8, budget="60s", name="fine")
    assert found.schedules == found.reached["drawn"] == 8
    assert found.fired


def test_a_worker_that_dies_is_told() -> None:
    """It is no success that a process came to its end."""
    asking = os.getpid()

    async def dies(sim: Simulation) -> None:
        if os.getpid() != asking:
            os._exit(3)

    settings.use(Settings(workers=2))
    with pytest.raises(RuntimeError, match="a process that explored dies ended with 3"):
        explore(dies, name="dies")


def test_a_failure_that_depends_on_its_process_is_told() -> None:
    """It cannot be played again."""
    asking = os.getpid()

    async def elsewhere(sim: Simulation) -> None:
        assert os.getpid() == asking

    settings.use(Settings(workers=2))
    with pytest.raises(DurabilityError, match="depends on more than its seed"):
        explore(elsewhere, name="elsewhere")


def test_options_are_checked(pytester: pytest.Pytester) -> None:
    """Before anything runs; and a plain test that fails shows what happened in its simulation."""
    pytester.makepyfile("async def test_it(sim):\n    await sim.advance('1 day')\n    assert False\n")
    refused = pytester.runpytest_inprocess("-p", "no:schemathesis", "--sim-workers=0")
    refused.stderr.fnmatch_lines(["*--sim-workers=0: one or more*"])
    shown = pytester.runpytest_inprocess("-p", "no:schemathesis", "--sim-trace=text")
    shown.stdout.fnmatch_lines(["*- simulation -*", "*clock*advance*+86400 s*"])
