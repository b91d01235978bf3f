"""The workflow that the engine is proved with: it plays whatever its params say, and notes each call to the outside.

Ops, each a list: ``["do", name, how]`` · ``["sleep", name, ms]`` · ``["wait", name, type, ms or None]`` ·
``["gather", [ops], …]`` · ``["try", op]`` · ``["race", [ops], …]`` · ``["own", name]`` (a transaction of the user's) ·
``["hook", name]`` (an outbox row with the boundary) · ``["log", text]`` · ``["coin", name]`` (a step or a sleep: each
replay tosses anew) · ``["again", ops]`` (continue as new).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from keepstep import (
    App,
    EventTimeoutError,
    Fragment,
    HookContext,
    NonRetryableError,
    Retry,
    StepContext,
    StepFailedError,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.authoring.definition import WorkflowDefinition
from keepstep_testing.sim.coins import COINS
from keepstep_testing.sim.process import PROCESS

USER_TABLE = "CREATE TABLE sim_row (instance TEXT NOT NULL, run INTEGER NOT NULL, step TEXT NOT NULL)"
_INSERT = text("INSERT INTO sim_row (instance, run, step) VALUES (:instance, :run, :step)")
RETRY = Retry(max_attempts=4, delay="2 seconds", backoff="constant")
PLAY = "sim__play"
"""The workflow's name, as it is stored."""


class Effect(NamedTuple):
    """One call to the outside world."""

    instance: str
    run: int
    step: str
    attempt: int
    idempotency_key: str
    process: str


class Outside:
    """The outside world of one schedule: what was called, and how calls turn out.

    Args:
        ghost: the oracle's.
        die: kills a process.

    Attributes:
        effects: all calls, in order.
        hook_calls: deliveries begun, by the key of the step that triggered them.
        hook_trouble: so many deliveries of each hook fail.
        lost: how many calls were made before the database lost commits; their steps may be gone.
    """

    def __init__(self, ghost: Any, die: Callable[[Any], None]) -> None:
        self.ghost = ghost
        self.die = die
        self.effects: list[Effect] = []
        self.hook_calls: Counter[str] = Counter()
        self.hook_trouble = 0
        self.lost = 0

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
            )
        )

    async def delivered(self, context: HookContext, payload: str) -> None:
        """A hook is delivered; now and then the receiver fails, or answers late."""
        process = PROCESS.get()
        self.hook_calls[payload] += 1
        await process.gate("hook")
        if self.hook_trouble and context.attempt <= self.hook_trouble:
            raise ConnectionError("503: the receiver is overloaded")
        self.ghost.delivered.add(int(context.id))


async def act(name: str, how: dict[str, Any], context: StepContext) -> str:
    """Call the outside world, in whatever way the plan says."""
    process = PROCESS.get()
    process.world.outside.called(context)
    if how.get("takes"):
        await asyncio.sleep(how["takes"] / 1000)
    await process.gate("step")
    if how.get("poison"):
        process.world.outside.die(process)
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
    PROCESS.get().world.outside.called(context)
    if context.attempt <= how.get("fails", 0):
        raise ConnectionError(f"attempt {context.attempt} of {name} fails")
    if how.get("never"):
        raise NonRetryableError(f"{name} cannot be done")
    return f"{name} done"


def write_own(session: Session, context: StepContext) -> str:
    """Write the user's table in the boundary's transaction (C8)."""
    PROCESS.get().world.outside.called(context)
    session.execute(
        _INSERT, {"instance": context.instance_id, "run": context.run_number, "step": context.step_key}
    )
    return "written"


async def reconciled(name: str, how: dict[str, Any], context: StepContext) -> str:
    """What a step with an intent does after a crash (B8)."""
    PROCESS.get().world.outside.called(context)
    if how.get("never"):
        raise NonRetryableError(f"{name} cannot be done")
    return f"{name} done"


class Player:
    """Plays ops in a body.

    Args:
        notify: the hook that ``["hook", …]`` triggers.
        step: the run's steps.
        event: what the run was created with.
    """

    def __init__(self, notify: Any, step: WorkflowStep, event: WorkflowEvent[list[Any]]) -> None:
        self._notify = notify
        self._step = step
        self._run = (event.instance_id, event.run_number)

    async def all(self, ops: list[list[Any]]) -> list[Any]:
        """Play ops in turn; what each gives."""
        return [await self.one(op) for op in ops]

    async def one(self, op: list[Any]) -> Any:  # noqa: C901, RET503  # one case an op; what follows continue_as_new is never reached
        """Play one op."""
        step = self._step
        match op:
            case ["do", name, how]:
                return await self._do(name, how)
            case ["sleep", name, ms]:
                await step.sleep(name, f"{ms}ms")
                return "slept"
            case ["wait", name, kind, ms]:
                return await self._wait(name, kind, ms)
            case ["gather", *branches]:
                return await asyncio.gather(*(self.all(each) for each in branches))
            case ["race", *branches]:
                return await self._race(branches)
            case ["try", inner]:
                try:
                    return await self.one(inner)
                except StepFailedError as error:
                    return f"caught {error.name}"
            case ["own", name]:
                write: Any = write_own
                return await step.transaction(name, write)
            case ["hook", name]:
                trigger: Any = self._trigger
                return await step.do(name, trigger, name)
            case ["log", line]:
                step.log.info(line)
                return None
            case ["coin", name]:
                return await self._coin(name)
            case ["again", ops]:
                step.continue_as_new(ops)
            case _:
                raise ValueError(f"no such op: {op!r}")

    async def _do(self, name: str, how: dict[str, Any]) -> Any:
        options: dict[str, Any] = {"retry": RETRY, "timeout": "2 seconds" if "hangs" in how else "10 seconds"}
        if how.get("intent"):
            options |= {"journal_intent": True, "reconcile": reconciled}
        fn: Any = act_in_thread if how.get("thread") else act
        return await self._step.do(name, fn, name, how, **options)

    async def _coin(self, name: str) -> Any:
        """A step or a sleep of the same name; each replay tosses anew."""
        if COINS.toss(*self._run, name):
            return await self._do(name, {})
        await self._step.sleep(name, "10ms")
        return f"{name} done"

    async def _wait(self, name: str, kind: str, ms: int | None) -> Any:
        timeout = None if ms is None else f"{ms}ms"
        try:
            return (await self._step.wait_for_event(name, kind, timeout=timeout)).payload
        except EventTimeoutError:
            return "nothing"

    async def _race(self, branches: list[list[Any]]) -> Any:
        """The branch that is first; the others are cancelled."""
        tasks = [asyncio.create_task(self.all(each)) for each in branches]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(n for n, task in enumerate(tasks) if task.done())
        for task in tasks:
            task.cancel()
        return [first, tasks[first].result()]

    def _trigger(self, name: str, context: StepContext) -> str:
        """Leave an outbox row with the boundary."""
        PROCESS.get().world.outside.called(context)
        context.tx.trigger_hook(self._notify, f"{context.idempotency_key}")
        return f"{name} triggered"


def _fragment(*, newer: bool) -> Fragment[Any, Any]:
    """One version of the code."""
    fragment = Fragment("sim")

    @fragment.hook(retry=Retry(max_attempts=20, delay="2 seconds", backoff="constant"), timeout="20 seconds")
    async def notify(context: HookContext, payload: str) -> None:
        await PROCESS.get().world.outside.delivered(context, payload)

    @fragment.workflow(name="play")
    async def play(event: WorkflowEvent[list[Any]], step: WorkflowStep) -> list[Any]:
        if newer:
            step.log.debug("newer")  # no record tells one version from the other
        return await Player(notify, step, event).all(event.payload)

    return fragment


@workflow(name="other")
async def other(event: WorkflowEvent[None], step: WorkflowStep) -> None:
    """Another workflow: who runs it alone does not know the play."""


CODES: dict[str, dict[str, Any]] = {
    "current": {"fragments": [_fragment(newer=False)]},
    "newer": {"fragments": [_fragment(newer=True)]},
    "without": {"workflows": {"OTHER": other}},
}
"""Versions of the code, by name: what an app is made of."""


def _definition(code: str) -> WorkflowDefinition[Any, Any]:
    app: Any = App("sqlite:///never-opened.db", dispatcher=None, **CODES[code])
    return app._engine.registry.by_name(PLAY)  # replay without an app has no public name


DEFINITIONS = {code: _definition(code) for code in ("current", "newer")}
"""The play as each version of the code has it."""
