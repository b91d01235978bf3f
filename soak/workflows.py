"""What the soaked processes run: workflows whose every effect and output a model foretells.

Each step's callback leaves a line in the file of effects: the outside world, which no database rolls back. The steps of
a kind stand in levels: a level begins when everything of the level before is durable (A7), so no effect of a level may
appear after one of the next, whatever happened in between.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from keepstep import Retry, StepContext, WorkflowEvent, WorkflowStep, workflow

USER_TABLE = "soak_row"
"""A table of the user's own, without any constraint: a row that is written twice stays there twice."""
CREATE_USER_TABLE = f"CREATE TABLE {USER_TABLE} (instance TEXT NOT NULL, step TEXT NOT NULL)"
WORDS = 3
"""Events that a talk waits for."""
HALT_STEPS = 100

_INSERT = text(f"INSERT INTO {USER_TABLE} (instance, step) VALUES (:instance, :step)")


class Outside:
    """Where effects go; set once by the program before anything runs."""

    file = -1
    pause_s = 0.0

    @classmethod
    def open(cls, path: Path, pause_ms: int) -> None:
        """Append to this file, and let each asynchronous step take this long."""
        cls.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        cls.pause_s = pause_ms / 1000


def note(context: StepContext) -> None:
    """Leave one line, in one write: workflow, instance, step, attempt, process."""
    line = (
        f"{context.workflow_name} {context.instance_id} {context.step_key} {context.attempt} {os.getpid()}\n"
    )
    os.write(Outside.file, line.encode())


async def waiting(number: int, context: StepContext) -> int:
    """Leave a trace, then take a while, so that faults find steps in flight."""
    note(context)
    await asyncio.sleep(Outside.pause_s)
    return number


def blocking(number: int, context: StepContext) -> int:
    """Leave a trace from a thread."""
    note(context)
    return number


async def stubborn(context: StepContext) -> int:
    """Fail twice."""
    note(context)
    if context.attempt < 3:
        raise ConnectionError(f"attempt {context.attempt} fails")
    return context.attempt


async def inserting(session: AsyncSession, instance: str, context: StepContext) -> int:
    """Write in the boundary's own transaction (C8)."""
    note(context)
    await session.execute(_INSERT, {"instance": instance, "step": context.step_key})
    return 1


async def buffering(instance: str, context: StepContext) -> int:
    """Leave a write that joins the boundary (C8)."""
    note(context)
    context.tx.execute(_INSERT, {"instance": instance, "step": context.step_key})
    await asyncio.sleep(Outside.pause_s)
    return 1


@workflow(name="walk")
async def walk(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Take steps in sequence, every other one in a thread."""
    total = event.payload
    for number in range(5):
        total += await step.do(f"step-{number}", blocking if number % 2 else waiting, number)
    return total


@workflow(name="fan")
async def fan(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Do steps side by side, rest, do two more."""
    callbacks = (waiting, blocking, waiting, blocking)
    first = await asyncio.gather(*(step.do(f"a-{n}", fn, n) for n, fn in enumerate(callbacks)))
    await step.sleep("rest", "50ms")
    last = await asyncio.gather(step.do("b-0", waiting, 10), step.do("b-1", blocking, 20))
    return event.payload + sum(first) + sum(last)


@workflow(name="talk")
async def talk(event: WorkflowEvent[int], step: WorkflowStep) -> list[int]:  # noqa: ARG001  # every body gets it
    """Wait for events, and take a step for each."""
    heard: list[int] = []
    for number in range(WORDS):
        word = await step.wait_for_event(f"word-{number}", "word", timeout="2 hours")
        heard.append(await step.do(f"hear-{number}", waiting, word.payload))
    return heard


@workflow(name="pay")
async def pay(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Write the user's table in both ways, with a step in between."""
    total = await step.transaction("own", inserting, event.instance_id)
    total += await step.do("between", waiting, 10)
    return total + await step.do("joined", buffering, event.instance_id)


@workflow(name="halt")
async def halt(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Take many steps; its client ends it before they are done."""
    for number in range(HALT_STEPS):
        await step.do(f"step-{number}", waiting, number)
    return event.payload


@workflow(name="fail")
async def fail(event: WorkflowEvent[int], step: WorkflowStep) -> int:  # noqa: ARG001  # likewise
    """Try a step three times."""
    retry = Retry(max_attempts=5, delay="50ms", backoff="constant")
    return await step.do("stubborn", stubborn, retry=retry)


Level = frozenset[tuple[str, int]]
"""Steps, each with the number of an attempt, that may run side by side."""


@dataclass(frozen=True)
class Kind:
    """A workflow and its model.

    Attributes:
        definition: the workflow.
        levels: its effects, in order.
        output: what instance ``number`` returns.
        rows: what it leaves in the user's table.
    """

    definition: Any
    levels: tuple[Level, ...]
    output: Callable[[int], Any]
    rows: frozenset[str] = frozenset()


def _in_turn(keys: Sequence[str]) -> tuple[Level, ...]:
    return tuple(frozenset({(key, 1)}) for key in keys)


KINDS: dict[str, Kind] = {
    "walk": Kind(walk, _in_turn([f"do:step-{n}" for n in range(5)]), lambda number: number + 10),
    "fan": Kind(
        fan,
        (frozenset((f"do:a-{n}", 1) for n in range(4)), frozenset({("do:b-0", 1), ("do:b-1", 1)})),
        lambda number: number + 36,
    ),
    "talk": Kind(talk, _in_turn([f"do:hear-{n}" for n in range(WORDS)]), lambda _: list(range(WORDS))),
    "pay": Kind(
        pay,
        _in_turn(["transaction:own", "do:between", "do:joined"]),
        lambda _: 12,
        frozenset({"transaction:own", "do:joined"}),
    ),
    "halt": Kind(halt, _in_turn([f"do:step-{n}" for n in range(HALT_STEPS)]), lambda number: number),
    "fail": Kind(fail, tuple(frozenset({("do:stubborn", n)}) for n in (1, 2, 3)), lambda _: 3),
}
"""By name."""

WORKFLOWS: dict[str, Any] = {name.upper(): kind.definition for name, kind in KINDS.items()}
"""As an app takes them."""


def instance_id(name: str, number: int) -> str:
    """How instance ``number`` of a kind is called."""
    return f"{name}-{number}"
