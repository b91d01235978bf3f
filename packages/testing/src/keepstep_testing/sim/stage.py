"""The stage of one schedule: the world with its cast, who starts and restarts machines, and what clients did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keepstep import App, RunnerOptions
from keepstep.errors import KeepstepError, SchemaVersionError, StoreConflictError, StoreUnavailableError
from keepstep.store.migrations import CORE
from keepstep_testing.sim.coins import COINS
from keepstep_testing.sim.dispatch import SimDispatcher
from keepstep_testing.sim.faults.kinds import LEASE_S
from keepstep_testing.sim.faults.plan import FaultPlan
from keepstep_testing.sim.faults.timeline import Timeline
from keepstep_testing.sim.operator import help_along
from keepstep_testing.sim.oracle.oracle import Oracle
from keepstep_testing.sim.oracle.rules import Violation
from keepstep_testing.sim.play import CODES, Outside
from keepstep_testing.sim.process import Process
from keepstep_testing.sim.scenario import Command, Machine
from keepstep_testing.sim.ticks import serve_ticks
from keepstep_testing.sim.world import World

POLL = "5 seconds"
"""How often a runner looks when nothing tells it to."""


@dataclass(slots=True)
class Operation:
    """One thing that a client did.

    Attributes:
        command: what.
        invoked: commits seen by the oracle when it began; answers are ordered by them.
        answered: likewise; None while in flight, or for ever when its process died.
        outcome: ``ok``, an error's code, ``unknown``, or None.
        answer: what it returned.
    """

    command: Command
    invoked: int
    answered: int | None = None
    outcome: str | None = None
    answer: Any = None


class Stage:
    """See the module's head.

    Args:
        world: empty.
        plan: its faults.
        oracle: its oracle.
        seed: decides which runner is left at the end.
    """

    def __init__(self, world: World, plan: FaultPlan, oracle: Oracle, seed: int) -> None:
        self.world = world
        self._seed = seed
        self.plan = plan
        self.oracle = oracle
        self.outside = Outside(oracle.ghost, self.die)
        world.outside = self.outside
        COINS.begin(oracle.ghost, world.seed)
        plan.stage = self
        self.machines: dict[str, Machine] = {}
        self.operations: list[Operation] = []
        self._asking: dict[Process, None] = {}
        self.stopping = False
        self.fair = False
        self._extra = 0
        self._torn = False
        self.timeline = Timeline(world.database, oracle.ghost) if plan.goes_back else None
        if self.timeline is not None:
            world.watchers.append(self.timeline)

    @property
    def clients_busy(self) -> bool:
        """Whether a client still asks something; one whose process has crashed never will."""
        return any(each.alive for each in self._asking)

    # --- machines

    def servers(self) -> list[Process]:
        """Machines that live."""
        return [each for each in self.world.processes if each.alive and each.name in self.machines]

    def start(self, name: str, machine: Machine, code: str = "current", pid: int | None = None) -> Process:
        """Start a machine; one that was there before has the same name."""
        self.machines[name] = machine
        process = self.world.process(name, machine.host, machine.skew_ms, machine.drift_ppm, pid)
        if self._torn and machine.kind == "runner":
            self.oracle.ghost.misfits.add(process)
        process.concurrency = machine.concurrency
        if machine.drift_ppm > 500:  # clocks do not; leases are to hold all the same
            self.oracle.ghost.early_ms = 250
        process.code = code
        if machine.kind == "runner":
            process.spawn(self._run(process, machine), "main")
        else:
            process.spawn(serve_ticks(process, machine), "main")
        return process

    def add_runner(self) -> None:
        """One more runner."""
        self._extra += 1
        self.start(f"rx{self._extra}", Machine(host="host-3"))

    def crash(
        self,
        process: Process,
        *,
        back_after: float,
        pid_dies: bool = True,
        code: str | None = None,
        pid: int | None = None,
    ) -> None:
        """A machine crashes; after a while the operator starts it again."""
        if not process.alive:
            return
        process.crash(pid_dies=pid_dies)
        machine = self.machines.get(process.name)
        if machine is not None:
            self.world.later(
                int(back_after * 1e6), lambda: self._back(process.name, machine, code or "current", pid)
            )

    def drain(self, process: Process, *, back_after: float) -> None:
        """A machine is asked to stop; then another one starts."""
        if process.app is None:
            return
        machine = self.machines[process.name]

        async def stop() -> None:
            try:
                await process.app.stop()
            finally:
                process.leave()
                self.world.later(int(back_after * 1e6), lambda: self._back(process.name, machine, "current"))

        process.spawn(stop(), "drain")
        process.draining = True

    def stall(self, process: Process, seconds: float) -> None:
        """A machine stands still."""
        process.stalled_until_us = self.world.clock.us + int(seconds * 1e6)

    def tear_schema(self, revision: str, seconds: float) -> None:
        """Code that starts now needs a newer schema than there is; after a while the operator migrates."""
        self._torn = True
        self.world.database.set_revision(revision)
        self.world.later(int(seconds * 1e6), self.mend_schema)

    def mend_schema(self) -> None:
        """The schema is what today's code needs."""
        if self._torn and self.world.in_transaction:  # which may be rolled back, and this with it
            self.world.later(10_000, self.mend_schema)
        elif self._torn:
            self._torn = False
            self.oracle.ghost.misfits.clear()
            self.world.database.set_revision(CORE.head)

    def die(self, process: Process) -> None:
        """A step kills its process; its supervisor starts it again at once."""
        self.crash(process, back_after=0.2)

    def make_fair(self) -> None:
        """The chaos is over: one runner with the right code serves, the others leave, an operator helps what stands still."""
        self.mend_schema()
        COINS.honest = True
        self.fair = True
        able = self._able() or [self.start("rfair", Machine(host="host-4"))]
        kept = able[self._seed % len(able)]
        for process in self.servers():
            if process is not kept:
                self._retire(process)
        operator = self.world.process("operator", "host-9")
        operator.spawn(help_along(self, operator), "operator")

    def _able(self) -> list[Process]:
        """Who may be left alone: a runner, unless there never was one; ticks alone do not count takeovers (B7)."""
        kinds = {"runner"} & {each.kind for each in self.machines.values()} or {"ticker"}
        able = [each for each in self.servers() if self.machines[each.name].kind in kinds]
        return [each for each in able if each.code != "without" and not each.draining]

    def stop_all(self) -> None:
        """Everybody drains and goes."""
        self.stopping = True
        for process in self.servers():
            self._retire(process)

    def _retire(self, process: Process) -> None:
        if process.app is None:  # it has not started yet, and may be within a transaction
            process.crash()
        elif not process.draining:
            process.draining = True
            process.spawn(self._stop(process), "stop")

    async def _stop(self, process: Process) -> None:
        await process.app.stop()
        process.leave()

    def _back(self, name: str, machine: Machine, code: str, pid: int | None = None) -> None:
        if self.stopping or (self.fair and self._able()):
            return
        if not any(each.alive and each.name == name for each in self.world.processes):
            self.start(name, machine, code, pid)

    async def _run(self, process: Process, machine: Machine) -> None:
        options = RunnerOptions(
            lease=f"{int(LEASE_S * 1000)}ms",
            hook_lease=f"{int(LEASE_S * 1000)}ms",
            cache=machine.cache,
            concurrency=machine.concurrency,
            drain="3 seconds",
        )
        app: Any = App(
            process.surroundings,
            dispatcher=SimDispatcher(process, POLL, POLL),
            runner=options,
            **CODES[process.code],
        )
        while True:
            try:
                await app.start()
            except (StoreUnavailableError, StoreConflictError, SchemaVersionError) as error:
                self.world.reached["schema refused"] += isinstance(error, SchemaVersionError)
                await asyncio.sleep(1)  # its supervisor tries again
            else:
                break
        process.app = app

    # --- clients

    def client(self, number: int, commands: tuple[Command, ...]) -> None:
        """A client that does one thing after the other."""
        process = self.world.process(f"c{number}", "host-9")
        self._asking[process] = None
        process.spawn(self._client(process, commands), "client")

    async def _client(self, process: Process, commands: tuple[Command, ...]) -> None:
        app: Any = App(process.surroundings, dispatcher=None, **CODES["current"])
        process.app = app
        for command in commands:
            if command.after_ms:
                await asyncio.sleep(command.after_ms / 1000)
            await process.gate("client", command.verb)
            done: asyncio.Future[None] = process.loop.create_future()
            operation = self._begun(command)
            other = next(
                (each for each in self.servers() if each.name == command.via and each.app is not None), None
            )
            where = process if other is None or other.draining else other
            task = where.spawn(self._operate(where.app, operation), command.verb)
            if where is process:
                await task
            else:
                where.on_end.append(lambda done=done: done.done() or done.set_result(None))
                task.add_done_callback(lambda _, done=done: done.done() or done.set_result(None))
                await done
        del self._asking[process]

    def _begun(self, command: Command) -> Operation:
        operation = Operation(command, self.oracle.ghost.seen)
        self.operations.append(operation)
        return operation

    async def act(self, app: Any, command: Command) -> None:
        """Do what a client does, through an app, and remember it."""
        await self._operate(app, self._begun(command))

    async def _operate(self, app: Any, operation: Operation) -> None:
        try:
            operation.answer = await _VERBS[operation.command.verb](app, operation.command)
            operation.outcome = "ok"
        except StoreUnavailableError:
            operation.outcome = "unknown"
        except KeepstepError as error:
            operation.outcome = error.code
        except Exception as error:  # noqa: BLE001  # whatever it is, it should have been one of those
            self.oracle.violation = self.oracle.violation or Violation(
                "H", f"{operation.command.verb} raised {error!r}"
            )
        operation.answered = self.oracle.ghost.seen


Verb = Callable[[Any, Command], Any]


async def _create(app: Any, command: Command) -> str:
    made = await app.sim.workflows.play.create(command.instance, command.args[0])
    return made.id


async def _batch(app: Any, command: Command) -> list[str]:
    ids, program = command.args
    made = await app.sim.workflows.play.create_batch([{"id": each, "params": program} for each in ids])
    return [each.id for each in made]


async def _event(app: Any, command: Command) -> bool:
    kind, payload, event_id = command.args
    accepted = await app.sim.workflows.play.instance(command.instance).send_event(kind, payload, id=event_id)
    return accepted.duplicate


async def _oversize(app: Any, command: Command) -> None:
    await app.sim.workflows.play.instance(command.instance).send_event("go", "x" * 2_000_000)


async def _status(app: Any, command: Command) -> str:
    return (await app.sim.workflows.play.instance(command.instance).status()).status.value


def _plain(name: str) -> Verb:
    async def verb(app: Any, command: Command) -> None:
        await getattr(app.sim.workflows.play.instance(command.instance), name)()

    return verb


_VERBS: dict[str, Verb] = {
    "create": _create,
    "batch": _batch,
    "event": _event,
    "oversize": _oversize,
    "status": _status,
    "cancel": _plain("cancel"),
    "terminate": _plain("terminate"),
    "pause": _plain("pause"),
    "resume": _plain("resume"),
    "restart": _plain("restart"),
    "retry": _plain("retry_failed_step"),
}
