"""``DurableMachine``: a Hypothesis state machine whose rules are what clients and operators do to an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import invariant as holds_always
from sqlalchemy import MetaData

from keepstep import EventModel, Instance
from keepstep.client.bound import Workflow
from keepstep.errors import StateError
from keepstep_testing.effects import Effect
from keepstep_testing.outside import put_outside
from keepstep_testing.simulation import Simulation
from keepstep_testing.verdict import verify

MOMENTS_MAX = 6
"""What the processes may still do before they die: calls of steps, and what becomes durable of them."""


class DurableMachine(RuleBasedStateMachine):
    """Subclass it, name the workflow, and have pytest collect ``TestRefunds = Refunds.TestCase``.

    Hypothesis then tries sequences of: create, send event, let time pass, crash, drain, pause, resume, cancel, terminate,
    restart; and shows the shortest one after which :meth:`invariant` does not hold, or which ends in something that
    needs no assertion: a declared effect done twice, or a body at odds with its records.

    Attributes:
        workflow: under test.
        params: its params, or a strategy for them.
        events: strategies for events that clients send.
        effects: outside functions: a dict of what they answer, or a list of functions to be really called.
        stubs: what steps return without being called.
        tables: of the user's own.
        durations: how much time may pass at once.
        operators: what may be done to it beside events; leave out what your clients never do.
        sim: the simulation of the sequence that is tried.
        instance: the instance.
    """

    workflow: ClassVar[Workflow[Any, Any]]
    params: ClassVar[Any] = None
    events: ClassVar[Iterable[st.SearchStrategy[EventModel]]] = ()
    effects: ClassVar[Mapping[Callable[..., Any], Any] | Iterable[Callable[..., Any]]] = ()
    stubs: ClassVar[Mapping[Any, Any]] = {}
    tables: ClassVar[Iterable[MetaData]] = ()
    durations: ClassVar[tuple[str, ...]] = ("1 second", "1 minute", "1 hour", "1 day", "10 days")
    operators: ClassVar[frozenset[str]] = frozenset({"pause", "resume", "cancel", "terminate", "restart"})

    sim: Simulation
    instance: Instance[Any]

    def invariant(self) -> None:
        """Override it: what holds after every move, as assertions on ``self.effect(…)`` and ``self.status``."""

    def effect(self, name: str) -> Effect:
        """What was done outside, by the name of the function or of the step."""
        return self.sim.effect(name)

    @property
    def status(self) -> str:
        """The instance's status."""
        return self.sim.run(self._status())

    # --- what Hypothesis calls

    @initialize(data=st.data())
    def create(self, data: st.DataObject) -> None:
        """Create the instance."""
        self.sim = Simulation()
        self.sim.judged = False
        self.sim.tables(*self.tables)
        put_outside(self.sim, self.stubs, self.effects)
        params = self.params
        if isinstance(params, st.SearchStrategy):
            params = data.draw(cast("st.SearchStrategy[Any]", params), "params")
        self.instance = self.sim.run(self._create(params))

    @precondition(lambda self: bool(tuple(self.events)))
    @rule(data=st.data())
    def send_event(self, data: st.DataObject) -> None:
        """A client sends an event."""
        event = data.draw(st.one_of(*self.events), "event")
        self._act(self.instance.send_event, event)

    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """Time passes."""
        self.sim.run(self.sim.advance(data.draw(st.sampled_from(self.durations), "time")))

    @rule(moments=st.integers(0, MOMENTS_MAX))
    def crash(self, moments: int) -> None:
        """The runners' processes die, in the middle of what they do: after so many calls and records."""
        self.sim.run(self._going_on(moments))
        self.sim.crash()

    @rule(moments=st.integers(0, MOMENTS_MAX))
    def drain(self, moments: int) -> None:
        """A deployment, likewise."""
        self.sim.run(self._going_on(moments))
        self.sim.drain()

    @precondition(lambda self: bool(self.operators))
    @rule(data=st.data())
    def operate(self, data: st.DataObject) -> None:
        """An operator steps in."""
        verb = data.draw(st.sampled_from(sorted(self.operators)), "operation")
        self._act(getattr(self.instance, verb))

    @holds_always()
    def check_invariant(self) -> None:
        """What holds after every move."""
        if "sim" in vars(self):
            self.invariant()

    def teardown(self) -> None:
        """Everything comes to its end, and what needs no assertion is looked at."""
        if "sim" not in vars(self):
            return
        with self.sim as sim:
            sim.run(self._end())
            self.invariant()

    def _act(self, act: Callable[..., Any], *args: Any) -> None:
        with suppress(StateError):  # an instance that has ended refuses; that is its right
            self.sim.run(self._acting(act, *args))

    async def _acting(self, act: Callable[..., Any], *args: Any) -> None:
        await act(*args)

    async def _create(self, params: Any) -> Instance[Any]:
        return await self.sim.start(self.workflow, params)

    async def _going_on(self, moments: int) -> None:
        seen = [self._moment()]

        def over() -> bool:
            if (now := self._moment()) != seen[-1]:
                seen.append(now)
            return len(seen) > moments or self.sim.enactment.is_quiet()

        await self.sim.enactment.until(over)

    def _moment(self) -> tuple[int, int, tuple[str, ...]]:
        calls = sum(len(each.calls) for each in self.sim.stand_ins.steps.values())
        recorded, _ = self.sim.standing()
        return calls, len(recorded), tuple(each.status for each in self.sim.ghost.runs.values())

    async def _status(self) -> str:
        return (await self.instance.status()).status.value

    async def _end(self) -> None:
        await self.instance.resume() if await self._status() == "paused" else None
        await self.sim.settle()
        await verify(self.sim)
