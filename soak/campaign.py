"""Episodes on fresh databases until the time is over: load, a fault in its middle, and a judgement after each.

An episode has one database, some runners and some faults. Kinds of database take turns: SQLite on a small volume, a
PostgreSQL of its own, and one with a standby, where the last fault is the promotion.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg

from soak.checker import ALWAYS, AT_REST, broken, read_effects, repeats, wrong_effects, wrong_outcomes
from soak.client import Client, client_of
from soak.cluster import pair, server, url_of_both
from soak.faults import LEASE_S, ON_POSTGRESQL, ON_SQLITE, Fault, Scene, no_fault, promote_standby
from soak.processes import Fleet, fleet, pause
from soak.room import volume
from soak.verdict import all_ended, stuck, verdict

FAULTS_PER_EPISODE = 6
RUNNERS_MAX = 3
WAVE = {"walk": 40, "fan": 20, "talk": 15, "pay": 15, "fail": 15, "halt": 5}
WAVES_MAX = 12
"""So that what an episode checks stays small, however long a fault lasts."""
SETTLED_S = 90
"""How long it may take until all runs have ended after a fault."""


@dataclass
class Tally:
    """What one kind of fault did on one kind of database.

    Attributes:
        tried: how often.
        runs: how many runs ended as their models say, after it.
        repeated: how many effects took place again.
        seconds: how long it took each time, from the fault's end, until all runs had ended.
    """

    tried: int = 0
    runs: int = 0
    repeated: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass
class Report:
    """What a campaign found.

    Attributes:
        tallies: by kind of database and fault.
        wrong: what may never be; the campaign ends with the first.
        kept: where the files of the episode are in which that happened.
    """

    tallies: defaultdict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    episodes: int = 0
    wrong: list[str] = field(default_factory=list)
    kept: Path | None = None


class Campaign:
    """See the module's head.

    Args:
        seed: of all that is left to chance, except what processes do beside one another.
        ends_at: on the monotonic clock: no fault begins after it.
    """

    def __init__(self, seed: int, ends_at: float) -> None:
        self._chance = Random(seed)  # noqa: S311  # a plan, not a secret
        self._ends_at = ends_at
        self._begun = 0
        self.report = Report()

    async def run(self) -> Report:
        """Play until the time is over or something is wrong."""
        kinds = (on_sqlite, on_postgresql, on_a_pair)
        while time.monotonic() < self._ends_at and not self.report.wrong:
            place = kinds[self.report.episodes % len(kinds)]
            folder = Path(tempfile.mkdtemp(prefix="keepstep-soak-"))
            async with place(folder, self._chance) as (name, scene, client, faults):
                await self._episode(name, scene, client, faults)
            self.report.episodes += 1
            if self.report.wrong:
                self.report.kept = folder
            else:
                shutil.rmtree(folder)
        return self.report

    async def _episode(self, name: str, scene: Scene, client: Client, faults: list[Fault]) -> None:
        await scene.runners.started(self._chance.randint(2, RUNNERS_MAX))
        repeated = runs = 0
        for fault in faults:
            if time.monotonic() >= self._ends_at:
                break
            tally = self.report.tallies[name, fault.__name__]
            tally.tried += 1
            try:
                tally.seconds.append(await self._strike(scene, client, fault))
            except Exception as error:  # noqa: BLE001  # whatever it is, what was found before is to be told
                self.report.wrong += [f"{name}, {fault.__name__}: {error!r}", *_still_stuck(scene)]
                return
            wrong = self._judge(scene, client)
            if wrong:
                self.report.wrong += [f"{name}, after {fault.__name__}:", *wrong]
                return
            tally.runs += len(client.acknowledged) - runs
            runs = len(client.acknowledged)
            now = repeats(read_effects(scene.runners.effects)).total()
            tally.repeated += now - repeated
            repeated = now
        found = await verdict(scene.runners, client.expected, scene.stood_still)
        self.report.wrong += [f"{name}, at the end: {each}" for each in found.wrong]

    async def _strike(self, scene: Scene, client: Client, fault: Fault) -> float:
        """Load, and the fault in the middle of it; seconds from its end until all runs have ended."""
        over = asyncio.Event()
        load = asyncio.create_task(self._load(client, over))
        watch = asyncio.create_task(self._watch(scene))
        try:
            await pause(self._chance.uniform(0.2, 0.6))
            await fault(scene)
            over.set()
            struck = time.monotonic()
            await asyncio.wait_for(load, SETTLED_S)
            await all_ended(scene.runners.database, SETTLED_S)
        finally:
            for task in (load, watch):
                task.cancel()
            _, watched = await asyncio.gather(load, watch, return_exceptions=True)
            if isinstance(watched, AssertionError):
                raise watched  # before a time-out that came of it
        return time.monotonic() - struck

    async def _load(self, client: Client, over: asyncio.Event) -> None:
        """Wave after wave, at least until the fault is over."""
        for _ in range(WAVES_MAX):
            await client.begin(self._begun, **WAVE)
            self._begun += 100
            if over.is_set():
                return
            await pause(0.1)

    async def _watch(self, scene: Scene) -> None:
        """Look at what must hold at every commit, while everything happens."""
        while True:
            await asyncio.sleep(0.3)
            with contextlib.suppress(OSError, TimeoutError):
                found = await asyncio.to_thread(_broken_if_reachable, scene.runners.database)
                assert not found, "\n".join(found)

    def _judge(self, scene: Scene, client: Client) -> list[str]:
        database, effects = scene.runners.database, read_effects(scene.runners.effects)
        return (
            broken(database, *ALWAYS, *AT_REST)
            + wrong_outcomes(database, client.expected)
            + wrong_effects(effects, client.expected, scene.stood_still)
            + scene.runners.complaints()
        )


def _still_stuck(scene: Scene) -> list[str]:
    try:
        return stuck(scene.runners.database)
    except (psycopg.Error, sqlite3.Error) as error:
        return [f"what is stuck cannot be read: {error}"]


def _broken_if_reachable(database: str) -> list[str]:
    try:
        return broken(database, *ALWAYS)
    except (psycopg.OperationalError, sqlite3.OperationalError):
        return []


Place = tuple[str, Scene, Client, list[Fault]]


@contextlib.asynccontextmanager
async def on_sqlite(folder: Path, chance: Random) -> AsyncIterator[Place]:
    """A file on a small volume."""
    with volume() as room:
        async with _playing(f"sqlite:///{room.folder}/keepstep.db", folder) as (runners, client):
            scene = Scene(runners, chance, set(), room=room)
            yield "SQLite", scene, client, [no_fault, *chance.sample(ON_SQLITE[1:], FAULTS_PER_EPISODE)]


@contextlib.asynccontextmanager
async def on_postgresql(folder: Path, chance: Random) -> AsyncIterator[Place]:
    """A server of its own."""
    with server() as alone:
        async with _playing(alone.url, folder) as (runners, client):
            scene = Scene(runners, chance, set(), server=alone)
            yield (
                "PostgreSQL",
                scene,
                client,
                [no_fault, *chance.sample(ON_POSTGRESQL[1:], FAULTS_PER_EPISODE)],
            )


@contextlib.asynccontextmanager
async def on_a_pair(folder: Path, chance: Random) -> AsyncIterator[Place]:
    """A server and its standby; the last fault is the promotion, after which nobody follows."""
    with pair() as (primary, standby):
        url = url_of_both(primary, standby, "postgres")
        async with _playing(url, folder) as (runners, client):
            scene = Scene(runners, chance, set(), server=primary, standby=standby)
            yield "PostgreSQL, two", scene, client, [*chance.sample(ON_POSTGRESQL[1:], 2), promote_standby]


@contextlib.asynccontextmanager
async def _playing(database: str, folder: Path) -> AsyncIterator[tuple[Fleet, Client]]:
    options = ("--lease", f"{LEASE_S * 1000:g}ms", "--pause-ms", "50", "--drain", "2s")
    async with client_of(database) as client:
        with fleet(database, folder, *options) as runners:
            yield runners, client


def table(report: Report) -> str:
    """The report, for people."""
    lines = [
        "| database | fault | tried | runs right | effects repeated | settled after, median · most |",
        "|---|---|---|---|---|---|",
    ]
    for (name, fault), tally in sorted(report.tallies.items()):
        seconds = sorted(tally.seconds) or [0.0]
        spread = f"{seconds[len(seconds) // 2]:.1f} s · {seconds[-1]:.1f} s"
        cells = (name, fault.replace("_", " "), tally.tried, tally.runs, tally.repeated, spread)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    tried = Counter(name for (name, _), tally in report.tallies.items() for _ in range(tally.tried))
    lines.append("")
    lines.append(f"{report.episodes} episodes, {tried.total()} faults; {len(report.wrong)} things wrong.")
    return "\n".join([*lines, *report.wrong])
