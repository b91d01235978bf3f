"""Kill a process in the middle of a workflow, start another one, and tell from the records what happened.

    python -m examples.demo

Every line of the timeline comes from one of three sources: what this program did, what the processes wrote while
they ran, and the durable history of the order, read at the end. Exit code 0 means that each expectation held.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from examples.approval.app import make_client
from examples.approval.workflows import Approval, Order, Receipt
from keepstep import Binding, Instance, InstanceDetails, InstanceNotFoundError
from keepstep.model.outcome import History, StepView, Waiting

ROOT = Path(__file__).parents[1]
ORDER_ID = "o-1"
LOOK_S = 0.02
PATIENCE_S = 20


class Moment(NamedTuple):
    """One line of the timeline; `at` is in seconds since the epoch."""

    at: float
    who: str
    what: str


class Timeline:
    """What was seen, in the order in which it happened."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []

    def add(self, who: str, what: str, at: float | None = None) -> None:
        """Note that something happened, now unless `at` tells when."""
        self._moments.append(Moment(time.time() if at is None else at, who, what))

    @property
    def _began_at(self) -> float:
        return self._moments[0].at

    def newest(self, text: str) -> float:
        """When this was last said; 0 if never."""
        return max((moment.at for moment in self._moments if text in moment.what), default=0.0)

    def offset(self, instant: datetime | None) -> str:
        """An instant as seconds since the beginning."""
        return "for ever" if instant is None else f"{instant.timestamp() - self._began_at:.2f} s"

    def lines(self) -> Iterator[str]:
        """The timeline as text."""
        for moment in sorted(self._moments, key=lambda moment: moment.at):
            yield f"{moment.at - self._began_at:6.2f} s  {moment.who:<14}  {moment.what}"


class Worker:
    """A child process that runs the app until the order has ended; the same command for each."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.name = f"process {process.pid}"
        self.started_at = time.time()
        self.said: list[tuple[float, str]] = []
        self.other_output: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, database: str) -> Worker:
        """Start one."""
        command = ["-m", "examples.approval", "order", database, ORDER_ID, "desk", "2"]
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def ended(self) -> tuple[int, str]:
        """Its exit code and its standard output, once it has ended."""
        assert self.process.stdout is not None
        output = await self.process.stdout.read()
        await self._reading
        return await self.process.wait(), output.decode()

    async def end(self) -> None:
        """Make sure that it is gone; show what it said if it failed."""
        if self.process.returncode is None:
            self.process.kill()
        code, _ = await self.ended()
        if code not in {0, -signal.SIGKILL}:
            print(f"{self.name} ended with {code}:", *self.other_output, sep="\n", file=sys.stderr)

    def executed(self) -> list[str]:
        """What the steps of the workflow said when this process executed them."""
        return [text for _, text in self.said if text.startswith("executing ")]

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            at, _, rest = raw.decode().partition(" ")
            _, _, message = rest.strip().partition(" approval: ")
            if message:
                self.said.append((float(at), message))
            else:
                self.other_output.append(raw.decode())


async def created(orders: Binding[Order, Receipt]) -> Instance[Receipt]:
    """The instance, once a worker has created it."""
    while True:
        try:
            return await orders.get(ORDER_ID)
        except InstanceNotFoundError:
            await asyncio.sleep(LOOK_S)


async def until(
    instance: Instance[Receipt], seen: set[Waiting], condition: Callable[[InstanceDetails], bool]
) -> None:
    """Look at the instance until the condition holds, and keep everything that it was seen to wait for."""
    while True:
        details = await instance.details()
        seen.update(details.waiting_for)
        if condition(details):
            return
        await asyncio.sleep(LOOK_S)


def waits_for(what: str) -> Callable[[InstanceDetails], bool]:
    """Whether an instance is parked, with nothing executing, at a wait of this kind."""
    return lambda details: any(each.what == what for each in details.waiting_for)


async def play(
    database: str, timeline: Timeline, workers: list[Worker], seen: set[Waiting]
) -> tuple[InstanceDetails, History]:
    """The plot: start, kill while the order sleeps, start again, decide, wait for the end."""
    async with make_client(database).running() as app:

        async def start() -> None:
            workers.append(await Worker.start(database))
            timeline.add("demo", f"starts {workers[-1].name}")

        await start()
        instance = await created(app.workflows.approval)
        await until(instance, seen, waits_for("sleep"))
        workers[0].process.kill()
        await workers[0].ended()
        timeline.add("demo", f"killed {workers[0].name} with SIGKILL")
        await start()
        await until(instance, seen, waits_for("event"))
        timeline.add("demo", "sends the event 'approval'")
        await instance.send_event(Approval(approved=True, by="maria"), id="decision-1")
        await workers[1].ended()
        return await instance.details(), await instance.history()


def tell_records(
    timeline: Timeline, workers: Iterable[Worker], history: History, seen: Iterable[Waiting]
) -> None:
    """What the database knows of the run; `seen` has what it knew on the way and has replaced since."""

    def recorded(what: str, instant: datetime | None, of: str = "") -> None:
        # The database's clock trails a little; a record is not older than what it records, nor than who wrote it.
        assert instant is not None
        moment = max(instant.timestamp(), timeline.newest(of) if of else 0.0)
        writers = [each for each in workers if each.said and each.started_at < moment]
        timeline.add("record", what, max([moment, *(each.said[0][0] for each in writers)]))

    for each in seen:
        if each.what == "retry" and each.error is not None:
            attempt = f"{each.key}, attempt {each.attempt}"
            failed = f"{attempt}, failed: {each.error.name}: {each.error.message}"
            recorded(f"{failed}; waits until {timeline.offset(each.until)} for the next", each.since, attempt)
    for event in history.events:
        accepted = f"event {event.type!r} accepted, id {event.id}: {event.payload}"
        recorded(accepted, event.accepted_at, f"sends the event {event.type!r}")
    for step in history.steps:
        recorded(f"#{step.seq} {_resolved(step, timeline)}", step.resolved_at, f"executing {step.key}")


def tell_workers(timeline: Timeline, workers: Iterable[Worker], history: History) -> None:
    """What each process did; what it found recorded and did not execute, it replayed."""
    for worker in workers:
        found = [step for step in history.steps if _before(step, worker.started_at)]
        for number, (at, text) in enumerate(worker.said):
            if number == 0 and found:
                timeline.add(worker.name, "resumed the order", at)
                for step in found:
                    again = any(step.key in line for line in worker.executed())
                    timeline.add(worker.name, f"{'EXECUTED AGAIN' if again else 'replayed'} {step.key}", at)
            timeline.add(worker.name, text, at)


def _resolved(step: StepView, timeline: Timeline) -> str:
    since = f"{step.key}: waited since {timeline.offset(step.started_at)}"
    match step.kind:
        case "sleep":
            return f"{since} until {timeline.offset(step.due_at)}"
        case "wait":
            return f"{since} for event {step.event_type!r}, at most until {step.due_at:%Y-%m-%d %H:%M}"
        case _:
            return f"{step.key}, attempt {step.attempts}, {step.status}: {step.result}"


def _before(step: StepView, moment: float) -> bool:
    return step.resolved_at is not None and step.resolved_at.timestamp() < moment


def expectations(workers: list[Worker], history: History, receipt: Receipt) -> Iterator[tuple[str, bool]]:
    """What must hold, whatever the timing was."""
    first, second = workers
    by_name = {step.name: step for step in history.steps}
    pause = by_name["time to reconsider"]
    assert pause.resolved_at is not None
    assert pause.due_at is not None
    yield (
        f"{first.name} was killed, {second.name} ended by itself",
        (first.process.returncode == -signal.SIGKILL and second.process.returncode == 0),
    )
    yield (
        "the price was asked for twice, both times by the first process",
        (by_name["price"].attempts == len(first.executed()) == 2),
    )
    yield (
        "the second process executed the last step and nothing else",
        (second.executed() == ["executing do:reserve, attempt 1"]),
    )
    yield "nothing woke before its time", pause.resolved_at >= pause.due_at
    yield (
        "the receipt says what was decided",
        (receipt == Receipt(order_id=ORDER_ID, total=Decimal("378.00"), approved=True, decided_by="maria")),
    )


async def main() -> int:
    """Play, tell, judge."""
    timeline, workers, seen = Timeline(), list[Worker](), set[Waiting]()
    with tempfile.TemporaryDirectory(prefix="keepstep-demo-") as folder:
        database = f"sqlite:///{folder}/orders.db"
        try:
            async with asyncio.timeout(PATIENCE_S):
                details, history = await play(database, timeline, workers, seen)
        finally:
            for worker in workers:
                await worker.end()
    tell_workers(timeline, workers, history)
    tell_records(timeline, workers, history, seen)
    print("\n".join(timeline.lines()))
    print(f"\nstatus: {details.status}\noutput: {details.output}\n")
    held = list(expectations(workers, history, Receipt.model_validate(details.output)))
    print("\n".join(f"{'yes' if true else 'NO'}: {claim}" for claim, true in held))
    return 0 if all(true for _, true in held) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
