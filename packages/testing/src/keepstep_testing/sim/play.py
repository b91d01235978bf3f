"""The workflow that the engine is proved with: it plays whatever its params say, and notes each call to the outside.

Ops, each a list: ``["do", name, how]`` · ``["sleep", name, ms]`` · ``["wait", name, type, ms or None]`` ·
``["gather", [ops], …]`` · ``["try", op]`` · ``["race", [ops], …]`` · ``["own", name]`` (a transaction of the user's) ·
``["hook", name]`` (an outbox row with the boundary) · ``["log", text]`` · ``["again", ops]`` (continue as new).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from keepstep import (
    EventTimeoutError,
    NonRetryableError,
    Retry,
    StepContext,
    StepFailedError,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep_testing.sim.process import PROCESS

USER_TABLE = "CREATE TABLE sim_row (instance TEXT NOT NULL, run INTEGER NOT NULL, step TEXT NOT NULL)"
_INSERT = text("INSERT INTO sim_row (instance, run, step) VALUES (:instance, :run, :step)")
RETRY = Retry(max_attempts=4, delay="2 seconds", backoff="constant")
TIMEOUT_S = 20


class Effect(NamedTuple):
    """One call to the outside world."""

    instance: str
    run: int
    step: str
    attempt: int
    idempotency_key: str
    process: str
    at_ms: int


class Outside:
    """The outside world of one schedule: what was called, and how calls turn out.

    Args:
        ghost: the oracle's.
        die: kills a process.

    Attributes:
        effects: all calls, in order.
    """

    def __init__(self, ghost: Any, die: Callable[[Any], None]) -> None:
        self.ghost = ghost
        self.die = die
        self.effects: list[Effect] = []

    def called(self, context: StepContext) -> None:
        """A step called."""
        process = PROCESS.get()
        self.effects.append(
            Effect(
                context.instance_id,
                context.run_number,
                context.step_key,
                context.attempt,
                context.idempotency_key,
                process.name,
                process.world.clock.now_ms(),
            )
        )


async def act(name: str, how: dict[str, Any], context: StepContext) -> str:
    """Call the outside world, in whatever way the plan says."""
    process = PROCESS.get()
    process.world.outside.called(context)  # pyright: ignore[reportAttributeAccessIssue]
    if how.get("takes"):
        await asyncio.sleep(how["takes"] / 1000)
    await process.gate("step")
    if how.get("poison"):
        process.world.outside.die(process)  # pyright: ignore[reportAttributeAccessIssue]
        await asyncio.Event().wait()
    if context.attempt <= how.get("fails", 0):
        raise ConnectionError(f"attempt {context.attempt} of {name} fails")
    if how.get("never"):
        raise NonRetryableError(f"{name} cannot be done")
    if context.attempt <= how.get("hangs", 0):
        await asyncio.sleep(3600)
    return f"{name} done"


def act_in_thread(name: str, how: dict[str, Any], context: StepContext) -> str:
    """The same, as a sync step."""
    PROCESS.get().world.outside.called(context)  # pyright: ignore[reportAttributeAccessIssue]
    if context.attempt <= how.get("fails", 0):
        raise ConnectionError(f"attempt {context.attempt} of {name} fails")
    if how.get("never"):
        raise NonRetryableError(f"{name} cannot be done")
    return f"{name} done"


def write_own(session: Session, context: StepContext) -> str:
    """Write the user's table in the boundary's transaction (C8)."""
    PROCESS.get().world.outside.called(context)  # pyright: ignore[reportAttributeAccessIssue]
    session.execute(
        _INSERT, {"instance": context.instance_id, "run": context.run_number, "step": context.step_key}
    )
    return "written"


async def reconciled(name: str, how: dict[str, Any], context: StepContext) -> str:
    """What a step with an intent does after a crash (B8)."""
    PROCESS.get().world.outside.called(context)  # pyright: ignore[reportAttributeAccessIssue]
    if how.get("never"):
        raise NonRetryableError(f"{name} cannot be done")
    return f"{name} done"


async def play_op(step: WorkflowStep, op: list[Any]) -> Any:
    """Play one op; what it gives."""
    match op:
        case ["do", name, how]:
            fn = act_in_thread if how.get("thread") else act
            if how.get("intent"):
                return await step.do(
                    name, fn, name, how, retry=RETRY, timeout="20 seconds", journal_intent=True, reconcile=reconciled
                )
            return await step.do(name, fn, name, how, retry=RETRY, timeout="20 seconds")
        case ["sleep", name, ms]:
            await step.sleep(name, f"{ms}ms")
            return "slept"
        case ["wait", name, kind, ms]:
            timeout = None if ms is None else f"{ms}ms"
            try:
                got = await step.wait_for_event(name, kind, timeout=timeout)
            except EventTimeoutError:
                return "nothing"
            return got.payload
        case ["gather", *branches]:
            return await asyncio.gather(*(play_ops(step, each) for each in branches))
        case ["race", *branches]:
            return await race(step, branches)
        case ["try", inner]:
            try:
                return await play_op(step, inner)
            except StepFailedError as error:
                return f"caught {error.name}"
        case ["own", name]:
            return await step.transaction(name, write_own)
        case ["log", line]:
            step.log.info(line)
            return None
        case ["again", ops]:
            step.continue_as_new(ops)
        case _:
            raise ValueError(f"no such op: {op!r}")


async def play_ops(step: WorkflowStep, ops: list[list[Any]]) -> list[Any]:
    """Play ops in turn."""
    return [await play_op(step, op) for op in ops]


async def race(step: WorkflowStep, branches: list[list[Any]]) -> Any:
    """The branch that is first; the others are cancelled."""
    tasks = [asyncio.create_task(play_ops(step, each)) for each in branches]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = next(n for n, task in enumerate(tasks) if task.done())
    for task in tasks:
        task.cancel()
    return [first, tasks[first].result()]


@workflow(name="play")
async def play(event: WorkflowEvent[list[Any]], step: WorkflowStep) -> list[Any]:
    """Play the params."""
    return await play_ops(step, event.payload)


@workflow(name="play")
async def newer_play(event: WorkflowEvent[list[Any]], step: WorkflowStep) -> list[Any]:
    """Play the params; the next version of the code, which differs where no record tells."""
    step.log.debug("newer")
    return await play_ops(step, event.payload)


@workflow(name="other")
async def other(event: WorkflowEvent[None], step: WorkflowStep) -> None:  # noqa: ARG001
    """Another workflow: who runs it alone does not know the play."""


CODES: dict[str, dict[str, Any]] = {
    "current": {"PLAY": play},
    "newer": {"PLAY": newer_play},
    "without": {"OTHER": other},
}
"""Versions of the code, by name."""
