"""The invariants that a database can show (simulation.md), and the models that outputs and effects must meet.

Each rule is a query for offenders. Those of ``ALWAYS`` hold at every commit, whoever is being killed meanwhile; those
of ``AT_REST`` when every instance has ended and whoever died has been taken over; those of ``ENDED`` when every runner
has drained. Rows are read with the bare driver; nothing of the engine takes part in judging it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from soak.rows import Snapshot, snapshot
from soak.workflows import KINDS, USER_TABLE, Kind, instance_id

_TERMINAL = "('complete', 'errored', 'terminated', 'cancelled')"
SHOWN_MAX = 5


class Rule(NamedTuple):
    """What must hold, and a query for what breaks it."""

    text: str
    offenders: str


ALWAYS = (
    Rule(
        "a terminal run has no task (B2)",
        f"SELECT r.id, r.status FROM keepstep_run r JOIN keepstep_task t ON t.run_id = r.id WHERE r.status IN {_TERMINAL}",
    ),
    Rule(
        "a live run has its task",
        "SELECT r.id, r.status FROM keepstep_run r LEFT JOIN keepstep_task t ON t.run_id = r.id"
        f" WHERE t.run_id IS NULL AND r.status NOT IN {_TERMINAL}",
    ),
    Rule(
        "a task has its run",
        "SELECT t.run_id FROM keepstep_task t LEFT JOIN keepstep_run r ON r.id = t.run_id WHERE r.id IS NULL",
    ),
    Rule(
        "a run that waits or is paused is owned by nobody, and a paused one is not due (B2)",
        "SELECT r.id, r.status, t.owner, t.run_at FROM keepstep_run r JOIN keepstep_task t ON t.run_id = r.id"
        " WHERE (r.status IN ('waiting', 'paused') AND t.owner IS NOT NULL)"
        " OR (r.status = 'paused' AND t.run_at IS NOT NULL)",
    ),
    Rule(
        "an instance has one latest run, its last, and its runs are numbered from 1",
        "SELECT workflow, instance_id FROM keepstep_run GROUP BY workflow, instance_id"
        " HAVING sum(CASE WHEN latest THEN 1 ELSE 0 END) <> 1 OR min(run_number) <> 1"
        " OR max(run_number) <> count(*) OR max(CASE WHEN latest THEN run_number END) <> max(run_number)",
    ),
    Rule(
        "only the latest run of an instance lives (E6)",
        f"SELECT id, status FROM keepstep_run WHERE NOT latest AND status NOT IN {_TERMINAL}",
    ),
    Rule(
        "an end has its time, and its output or its error; a live run has none of them (E7)",
        "SELECT id, status FROM keepstep_run"
        f" WHERE (status IN {_TERMINAL}) <> (completed_at IS NOT NULL) OR completed_at < created_at"
        " OR (status = 'complete' AND error IS NOT NULL) OR (status = 'errored' AND error IS NULL)"
        " OR (output IS NOT NULL AND status <> 'complete')",
    ),
    Rule(
        "resolutions are numbered 1 to n (A2)",
        "SELECT run_id, min(seq), max(seq), count(*) FROM keepstep_run_step WHERE seq IS NOT NULL GROUP BY run_id"
        " HAVING min(seq) <> 1 OR max(seq) <> count(*) OR count(DISTINCT seq) <> count(*)",
    ),
    Rule(
        "a resolved step has its time, and a result or an error as its status says (C2)",
        "SELECT run_id, key, status FROM keepstep_run_step WHERE seq IS NOT NULL AND (at IS NULL"
        " OR status NOT IN ('completed', 'failed') OR (status = 'completed') <> (error IS NULL)"
        " OR (status = 'failed' AND result IS NOT NULL))",
    ),
    Rule(
        "a step without a place in the order is open or abandoned (C2)",
        "SELECT run_id, key, status FROM keepstep_run_step WHERE seq IS NULL"
        " AND (at IS NOT NULL OR status NOT IN ('retrying', 'waiting', 'intent', 'abandoned'))",
    ),
    Rule(
        "loop time never goes back (A3)",
        "SELECT a.run_id, a.key, a.at, b.key, b.at FROM keepstep_run_step a"
        " JOIN keepstep_run_step b ON b.run_id = a.run_id AND b.seq = a.seq + 1 WHERE a.at > b.at",
    ),
    Rule(
        "steps, events and log lines belong to a run",
        "SELECT s.run_id FROM (SELECT run_id FROM keepstep_run_step UNION SELECT run_id FROM keepstep_event"
        " UNION SELECT run_id FROM keepstep_log) s LEFT JOIN keepstep_run r ON r.id = s.run_id WHERE r.id IS NULL",
    ),
    Rule(
        "a consumed event was consumed by a completed wait (D4)",
        "SELECT e.run_id, e.id, e.consumed_by FROM keepstep_event e LEFT JOIN keepstep_run_step s"
        " ON s.run_id = e.run_id AND s.key = e.consumed_by WHERE e.consumed_by IS NOT NULL"
        " AND (s.seq IS NULL OR s.status <> 'completed')",
    ),
    Rule(
        "a completed wait consumed one event (D5)",
        "SELECT s.run_id, s.key, count(e.id) FROM keepstep_run_step s LEFT JOIN keepstep_event e"
        " ON e.run_id = s.run_id AND e.consumed_by = s.key WHERE s.key LIKE 'wait:%' AND s.status = 'completed'"
        " GROUP BY s.run_id, s.key HAVING count(e.id) <> 1",
    ),
    Rule(
        "counters never fall below their start",
        "SELECT run_id FROM keepstep_task WHERE fence < 0 OR wake_seq < 0 OR takeovers < 0",
    ),
)

AT_REST = (
    Rule(
        "no task is owned by a runner that is gone (B2)",
        "SELECT t.run_id, t.owner FROM keepstep_task t LEFT JOIN keepstep_runner r ON r.id = t.owner"
        " WHERE t.owner IS NOT NULL AND r.id IS NULL",
    ),
    Rule(
        "no run waits for an event that it has (B6)",
        "SELECT s.run_id, s.key FROM keepstep_run_step s"
        " JOIN keepstep_run r ON r.id = s.run_id AND r.status = 'waiting'"
        " JOIN keepstep_event e ON e.run_id = s.run_id AND e.type = s.event_type AND e.consumed_by IS NULL"
        " WHERE s.status = 'waiting'",
    ),
)

ENDED = (
    Rule("no task is owned by anybody", "SELECT run_id, owner FROM keepstep_task WHERE owner IS NOT NULL"),
    Rule("no runner of a process that drained is left", "SELECT id, pid FROM keepstep_runner"),
)


class Effect(NamedTuple):
    """One line of the file of effects."""

    workflow: str
    instance: str
    key: str
    attempt: int
    pid: int


@dataclass(frozen=True)
class Expected:
    """What was asked for.

    Attributes:
        instances: by kind and number, each acknowledged.
        halted: those of them that were terminated, acknowledged too: some of their effects never took place.
    """

    instances: Sequence[tuple[str, int]]
    halted: frozenset[tuple[str, int]] = frozenset()

    @property
    def effects(self) -> int:
        """How many effects there are when nothing is repeated."""
        return sum(len(level) for name, _ in self.instances for level in KINDS[name].levels)


def broken(database: str, *rules: Rule) -> list[str]:
    """What breaks these rules in one moment of the database."""
    with snapshot(database) as now:
        return [complaint for rule in rules for complaint in _complaints(rule, now)]


def _complaints(rule: Rule, now: Snapshot) -> list[str]:
    found = now.rows(rule.offenders)
    if not found:
        return []
    more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
    return [f"broken: {rule.text}: {found[:SHOWN_MAX]}{more}"]


def wrong_outcomes(database: str, expected: Expected) -> list[str]:
    """Instances that are missing or too many, have not completed, or returned something else than their model."""
    with snapshot(database) as now:
        runs = now.rows("SELECT workflow, instance_id, status, output FROM keepstep_run WHERE latest")
        rows = now.rows(f"SELECT instance, step FROM {USER_TABLE}")
    found = {(workflow, instance): (status, output) for workflow, instance, status, output in runs}
    wanted = {
        (name, instance_id(name, n)): _end_of(name, n, (name, n) in expected.halted)
        for name, n in expected.instances
    }
    wrong = [f"nobody asked for {each}" for each in found.keys() - wanted.keys()]
    for each, end in wanted.items():
        status, text = found.get(each, ("missing", None))
        if (status, None if text is None else json.loads(text)) != end:
            wrong.append(f"{each}: {status} with {text}, expected {end}")
    once = Counter((instance_id(name, n), key) for name, n in expected.instances for key in KINDS[name].rows)
    wrong += [
        f"the user's row {row}: {once[row]} expected, {times} found"
        for row, times in _unlike(once, Counter(rows))
    ]
    return wrong


def _end_of(name: str, number: int, halted: bool) -> tuple[str, Any]:
    return ("terminated", None) if halted else ("complete", KINDS[name].output(number))


def _unlike(
    wanted: Counter[tuple[str, str]], found: Counter[tuple[str, str]]
) -> Iterable[tuple[tuple[str, str], int]]:
    return [(row, found[row]) for row in wanted.keys() | found.keys() if wanted[row] != found[row]]


def read_effects(path: Path) -> list[Effect]:
    """All effects so far, in the order in which they took place; a line that is being written is left out."""
    lines = path.read_text(encoding="ascii").split("\n")[:-1]
    fields = (line.split(" ") for line in lines)
    return [
        Effect(workflow, instance, key, int(attempt), int(pid))
        for workflow, instance, key, attempt, pid in fields
    ]


def wrong_effects(
    effects: Iterable[Effect], expected: Expected, stood_still: Collection[int] = ()
) -> list[str]:
    """Effects that are missing, that nobody asked for, or that came again although they were durable (A7, C2).

    Args:
        effects: in their order.
        expected: what was asked for.
        stood_still: processes that were stopped: what they had begun may come late, and nothing follows from it (B8).
    """
    wanted = {instance_id(name, n): KINDS[name] for name, n in expected.instances}
    halted = {instance_id(name, n) for name, n in expected.halted}
    reached: dict[str, int] = {}
    seen: set[tuple[str, str, int]] = set()
    wrong: list[str] = []
    for effect in effects:
        kind = wanted.get(effect.instance)
        level = None if kind is None else level_of(kind, effect)
        if level is None:
            wrong.append(f"nobody asked for {effect}")
            continue
        seen.add((effect.instance, effect.key, effect.attempt))
        if level < reached.get(effect.instance, 0) and effect.pid not in stood_still:
            wrong.append(f"came again although it was durable: {effect}")
        reached[effect.instance] = max(level, reached.get(effect.instance, 0))
    missing = [
        (instance, *step)
        for instance, kind in wanted.items()
        if instance not in halted
        for level in kind.levels
        for step in level
        if (instance, *step) not in seen
    ]
    return wrong + [f"never took place: {each}" for each in missing]


def level_of(kind: Kind, effect: Effect) -> int | None:
    """Where in the order an effect stands."""
    step = (effect.key, effect.attempt)
    return next((number for number, level in enumerate(kind.levels) if step in level), None)


def repeats(effects: Iterable[Effect]) -> Counter[tuple[str, str, int]]:
    """The effects that took place more than once, and how often too often."""
    times = Counter((each.instance, each.key, each.attempt) for each in effects)
    return Counter({step: count - 1 for step, count in times.items() if count > 1})
