"""What a host subscribes of its app's changes, and where they go (F3). Nothing here runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.registry import Stored
from keepstep.errors import UsageError
from keepstep.model.change import LIFE_CYCLE, Change, ChangeKind
from keepstep.model.duration import duration_ms
from keepstep.model.ids import check_name

NOTHING: frozenset[ChangeKind] = frozenset()


@runtime_checkable
class Sink(Protocol):
    """Where changes go, in their order. ``keepstep.changes`` has some; anything of this shape is one."""

    @property
    def name(self) -> str:
        """Under which its place in the stream is kept: never change it."""
        ...

    @property
    def batch(self) -> int:
        """How many changes at most it takes at once."""
        ...

    async def deliver(self, changes: Sequence[Change]) -> None:
        """Take changes, in their order; when it raises, the same ones come again (at least once)."""
        ...


@runtime_checkable
class HookSink(Protocol):
    """A sink that has each change delivered by a durable hook of its own."""

    @property
    def name(self) -> str:
        """As of :class:`Sink`."""
        ...

    @property
    def batch(self) -> int:
        """As of :class:`Sink`."""
        ...

    @property
    def hook(self) -> HookDefinition[Any]:
        """What delivers one change."""
        ...

    def takes(self, change: Change) -> bool:
        """Whether it is to be delivered at all."""
        ...


AnySink = Sink | HookSink


class ChangeFeed:
    """What an app publishes of its own changes: ``App(…, changes=ChangeFeed())``. Give it to each process alike.

    Args:
        kinds: what is published; by default what is about an instance as a whole: ``"created"``, ``"completed"``,
            ``"errored"``, ``"terminated"``, ``"cancelled"``, ``"paused"``, ``"resumed"``, ``"restarted"``. Besides
            there are ``"step_completed"``, ``"event_received"`` and ``"timer_fired"``.
        workflows: names of the only workflows it is about, as they are stored; None = all.
        sinks: where it goes, each with a place of its own in the stream.
        retention: how long changes are kept that every sink has taken.

    Raises:
        UsageError: an unknown kind, or two sinks of one name.
        InvalidDurationError: the retention cannot be read.
    """

    def __init__(
        self,
        *,
        kinds: Iterable[ChangeKind | str] = LIFE_CYCLE,
        workflows: Iterable[str] | None = None,
        sinks: Sequence[AnySink] = (),
        retention: timedelta | str = "7 days",
    ) -> None:
        self.kinds = read_kinds(kinds)
        self.workflows = None if workflows is None else frozenset(workflows)
        self.sinks = tuple(sinks)
        self.retention_ms = duration_ms(retention, "retention")
        names = [_checked_sink(each) for each in self.sinks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"two sinks of changes have one name: {', '.join(twice)}")

    def __repr__(self) -> str:
        return f"<ChangeFeed of {', '.join(sorted(self.kinds))}>"

    def wanted(self, definition: WorkflowDefinition[Any, Any]) -> frozenset[ChangeKind]:
        """The kinds that are published of a workflow, under the name that it has here."""
        return self.kinds if self.workflows is None or definition.name in self.workflows else NOTHING

    def check(self, known: Iterable[str]) -> None:
        """See that the app has the workflows.

        Raises:
            UsageError: it does not have one of them; the known ones are listed.
        """
        names = sorted(known)
        if unknown := sorted((self.workflows or frozenset()) - set(names)):
            raise UsageError(
                f"changes are to be published of workflows that the app does not have: {', '.join(unknown)}; "
                f"it has {', '.join(names)}"
            )


def read_kinds(kinds: Iterable[ChangeKind | str]) -> frozenset[ChangeKind]:
    """Read kinds of changes.

    Raises:
        UsageError: one is unknown, or there is none.
    """
    given = [kinds] if isinstance(kinds, str) else list(kinds)
    if unknown := sorted(str(each) for each in given if each not in list(ChangeKind)):
        raise UsageError(
            f"unknown kinds of changes: {', '.join(unknown)}; there are {', '.join(each.value for each in ChangeKind)}"
        )
    if not given:
        raise UsageError("no kinds of changes are given: then none would be published")
    return frozenset(ChangeKind(each) for each in given)


def hooks_of(feed: ChangeFeed | None) -> dict[str, HookDefinition[Any]]:
    """The hooks by which sinks deliver, by stored name."""
    sinks = () if feed is None else feed.sinks
    return {each.hook.name: each.hook for each in sinks if isinstance(each, HookSink)}


def subscribed(feed: ChangeFeed | None) -> Stored:
    """How each workflow is registered: with what is published of it; as it is, without a feed."""

    def stored(definition: WorkflowDefinition[Any, Any]) -> WorkflowDefinition[Any, Any]:
        wanted = NOTHING if feed is None else feed.wanted(definition)
        return replace(definition, changes=wanted) if wanted else definition

    return stored


def _checked_sink(sink: object) -> str:
    if not isinstance(sink, Sink | HookSink):
        raise UsageError(f"a sink of changes has a name, a batch and a way to deliver; {sink!r} has not")
    name, batch = check_name("sink", sink.name), sink.batch
    if type(batch) is not int or batch < 1:
        raise UsageError(f"sink {name!r}: batch must be an integer of 1 or more, not {batch!r}")
    return name
