"""Scenarios as data: what clients do, how time passes, what must then be so. They are printed, kept and run as they are.

[{"create": {"order": "o-1", "cents": 1200}},
 {"advance": "2 days"},
 {"event": "approval", "payload": {"approved": true}},
 {"crash": true},
 {"expect": {"status": "complete", "result": "t-1"}}]
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepstep import Instance
from keepstep.client.bound import Workflow
from keepstep.errors import KeepstepError, UsageError
from keepstep_testing.simulation import Simulation

Move = Mapping[str, Any]
"""One move: its verb with the verb's argument, and further arguments by name."""


@dataclass(slots=True)
class Told:
    """What a scenario read on its way.

    Attributes:
        read: values of ``read`` moves, by their names.
        refused: codes of errors with which moves were refused, by the move's number from 1.
    """

    read: dict[str, Any] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)


class ScenarioError(AssertionError):
    """A scenario expects what is not so; the text shows the move and those before it."""


def described(moves: Iterable[Move]) -> str:
    """The moves, one numbered line each, as they can be pasted."""
    return "\n".join(
        f"{number:3}. {json.dumps(move, ensure_ascii=False, default=str)}"
        for number, move in enumerate(moves, 1)
    )


def check_moves(moves: Sequence[Move]) -> None:
    """See that every move can be made, before the first one is.

    Raises:
        UsageError: one cannot; all of them are listed.
    """
    wrong: list[str] = []
    for number, move in enumerate(moves, 1):
        verbs = [name for name in move if name in _VERBS]
        if len(verbs) != 1:
            wrong.append(f"{number}. {dict(move)!r} has no verb, or more than one")
            continue
        unknown = set(move) - {verbs[0], "id"} - _VERBS[verbs[0]].takes
        if unknown:
            wrong.append(f"{number}. {verbs[0]!r} does not take {', '.join(sorted(unknown))}")
    if wrong:
        raise UsageError(f"these moves cannot be made (verbs are {', '.join(_VERBS)}): " + "; ".join(wrong))


def run_scenario(workflow: Workflow[Any, Any], moves: Sequence[Move], sim: Simulation | None = None) -> Told:
    """Run a scenario.

    Args:
        workflow: whose instances it is about.
        moves: what happens, in order.
        sim: a simulation to run it in, prepared with what stands in for the outside; None = a fresh one.

    Raises:
        UsageError: a move that cannot be made.
        ScenarioError: what is expected is not so.
    """
    check_moves(moves)
    if sim is not None:
        return sim.run(_Playing(workflow, sim, moves).play())
    with Simulation() as fresh:
        return fresh.run(_Playing(workflow, fresh, moves).play())


class _Playing:
    def __init__(self, workflow: Workflow[Any, Any], sim: Simulation, moves: Sequence[Move]) -> None:
        self.workflow = workflow
        self.sim = sim
        self.moves = moves
        self.told = Told()
        self.instances: dict[str, Instance[Any]] = {}
        self.number = 0

    async def play(self) -> Told:
        """Make the moves."""
        for number, move in enumerate(self.moves, 1):
            self.number = number
            verb = next(name for name in move if name in _VERBS)
            try:
                await _VERBS[verb].act(self, move, move[verb])
            except KeepstepError as error:
                following: Move = self.moves[self.number] if self.number < len(self.moves) else {}
                if "refused" not in following:
                    raise
                self.told.refused[self.number] = error.code
        return self.told

    def instance(self, move: Move) -> Instance[Any]:
        """The instance that a move is about: named by ``id``, or the only one."""
        if "id" in move and move["id"] in self.instances:
            return self.instances[move["id"]]
        if "id" not in move and len(self.instances) == 1:
            return next(iter(self.instances.values()))
        known = ", ".join(self.instances) or "none"
        raise UsageError(
            f"move {self.number} is about which instance? give it an id; there are {known}\n{described(self.moves)}"
        )

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Compare."""
        if found != wanted:
            raise ScenarioError(
                f"move {self.number} expects {what} {wanted!r}, it is {found!r}\n"
                + described(self.moves[: self.number])
            )

    async def look(self, instance: Instance[Any], what: str) -> Any:
        """One thing to read of an instance, as plain data."""
        found = await instance.status()
        match what:
            case "status":
                return found.status.value
            case "result":
                return found.output
            case "error":
                return None if found.error is None else found.error.name
            case "steps":
                return [each.key for each in (await instance.history()).steps if each.seq is not None]
            case "why":
                return await instance.why()
            case "waiting_for":
                return [each.key for each in (await instance.details()).waiting_for]
            case _:
                return self.sim.effect(what).count


@dataclass(frozen=True, slots=True)
class _Verb:
    act: Callable[[_Playing, Move, Any], Awaitable[None]]
    takes: frozenset[str] = frozenset()


async def _create(playing: _Playing, move: Move, params: Any) -> None:
    made = await playing.sim.start(playing.workflow, params, id=move.get("id"))
    playing.instances[made.id] = made


async def _event(playing: _Playing, move: Move, kind: str) -> None:
    await playing.instance(move).send_event(kind, move.get("payload"), id=move.get("event_id"))


async def _advance(playing: _Playing, _: Move, duration: str) -> None:
    await playing.sim.advance(duration)


async def _tick(playing: _Playing, _: Move, __: Any) -> None:
    await playing.sim.quiet()


async def _settle(playing: _Playing, _: Move, __: Any) -> None:
    await playing.sim.settle()


async def _crash(playing: _Playing, _: Move, __: Any) -> None:
    playing.sim.crash()


async def _drain(playing: _Playing, _: Move, __: Any) -> None:
    playing.sim.drain()


async def _read(playing: _Playing, move: Move, what: str) -> None:
    playing.told.read[move.get("as", what)] = await playing.look(playing.instance(move), what)


async def _expect(playing: _Playing, move: Move, wanted: Mapping[str, Any]) -> None:
    await playing.sim.quiet()
    for what, value in wanted.items():
        playing.expect(what, await playing.look(playing.instance(move), what), value)


async def _refused(playing: _Playing, _: Move, code: str) -> None:
    playing.expect("the move before to be refused with", playing.told.refused.get(playing.number - 1), code)


def _plain(name: str) -> _Verb:
    async def act(playing: _Playing, move: Move, _: Any) -> None:
        await getattr(playing.instance(move), name)()

    return _Verb(act)


_VERBS = {
    "create": _Verb(_create),
    "event": _Verb(_event, frozenset({"payload", "event_id"})),
    "advance": _Verb(_advance),
    "tick": _Verb(_tick),
    "settle": _Verb(_settle),
    "crash": _Verb(_crash),
    "drain": _Verb(_drain),
    "read": _Verb(_read, frozenset({"as"})),
    "expect": _Verb(_expect),
    "refused": _Verb(_refused),
    **{
        name: _plain(name)
        for name in ("pause", "resume", "cancel", "terminate", "restart", "retry_failed_step")
    },
}
"""The verbs. ``expect`` and ``read`` know status, result, error, steps, why, waiting_for; else how often an effect was done."""
