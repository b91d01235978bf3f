"""The pytest plugin: the fixtures ``sim`` and ``replay``, and the options of everything that explores. It needs no configuration.

Every test session loads this file, so it imports nothing that takes time before a test asks for it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from keepstep_testing import settings

if TYPE_CHECKING:
    from keepstep_testing.histories.fixture import Replayer
    from keepstep_testing.simulation import Simulation


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, all of them ``--sim-…``."""
    group = parser.getgroup("keepstep", "simulated workflows")
    group.addoption(
        "--sim-budget", metavar="TIME", help="how long each @sim_test explores, like 30s; else as it says"
    )
    group.addoption(
        "--sim-seed", metavar="N", type=int, default=1, help="the first schedule of each @sim_test"
    )
    group.addoption(
        "--sim-replay",
        metavar="CASE|FILE",
        help="play one case or one saved run again, as a failure names it",
    )
    group.addoption(
        "--sim-faults", metavar="LIST", default="", help="kinds to keep to or to leave out: +crash,-takeover"
    )
    group.addoption(
        "--sim-exhaustive", action="store_true", help="@sim_test tries every mishap at every place"
    )
    group.addoption(
        "--sim-trace",
        choices=("text", "html"),
        help="show what happened in a run that fails: in the report, or as a page in .sim_failures/",
    )
    group.addoption(
        "--sim-workers",
        metavar="N",
        type=int,
        default=1,
        help="how many processes explore each @sim_test; they share its budget of time",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the options."""
    options = config.option
    budget = options.sim_budget
    faults = [each.strip() for each in options.sim_faults.split(",") if each.strip()]
    for each in faults:
        if each[0] not in "+-" or each[1:] not in settings.KINDS:
            raise pytest.UsageError(
                f"--sim-faults takes kinds after + or -, not {each!r}; kinds are {', '.join(settings.KINDS)}"
            )
    settings.use(
        settings.Settings(
            budget_s=None if budget is None else settings.seconds(budget),
            seed=options.sim_seed,
            replay=options.sim_replay,
            faults=tuple(faults),
            exhaustive=options.sim_exhaustive,
            trace=options.sim_trace,
            workers=_workers(options.sim_workers),
        )
    )


def _workers(count: int) -> int:
    if count < 1 or (count > 1 and not hasattr(os, "fork")):
        raise pytest.UsageError(
            f"--sim-workers={count}: one or more, and more than one where processes can fork"
        )
    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How far each exploration came."""
    if settings.reports:
        terminalreporter.section("simulations")
        for line in settings.reports:
            terminalreporter.line(line)


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed: what comes of that is not told as well. Show what happened in its simulation."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        simulation = getattr(item, "funcargs", {}).get("sim")
        if simulation is not None and report.when == "call" and settings.current().trace is not None:
            report.sections.append(("simulation", _shown(item.name, report.longreprtext, simulation)))
    return report


def _shown(name: str, told: str, simulation: Simulation) -> str:
    from keepstep_testing.tracepage import show  # noqa: PLC0415  # see the module's head

    return show(name, told, simulation.lines)


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Generator[Simulation]:
    """One deterministic world around your workflows: the real engine on a database in memory, on virtual time.

    An async test that asks for it runs inside it; a sync test calls ``sim.run(coroutine)``.
    """
    from keepstep_testing.simulation import Simulation  # noqa: PLC0415  # see the module's head

    with Simulation(traced=settings.current().trace is not None) as simulation:
        yield simulation
        simulation.judged = simulation.judged and not request.node.stash.get(_FAILED, False)


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replayer:
    """Replays recorded histories against today's code: ``replay("histories.jsonl", {"REFUND": refund})``.

    The path begins at the test's folder; a folder stands for its ``*.jsonl``. The test fails with the difference.
    """
    from keepstep_testing.histories.fixture import Replayer  # noqa: PLC0415  # see the module's head

    return Replayer(request.path.parent)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An async test that asks for ``sim`` becomes a plain test that runs itself in it: it needs no async plugin."""
    for item in items:
        if not isinstance(item, pytest.Function) or "sim" not in item.fixturenames:
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _inside(item.obj)


def _inside(test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        kwargs["sim"].run(functools.partial(test, *args, **kwargs))

    return runs
