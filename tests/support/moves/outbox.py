"""Moves of the outbox and of the change feed."""

from __future__ import annotations

from typing import Any

from keepstep.model.hooks import Again, Dead, Delivered, Finished, GivenBack
from keepstep.model.records import HookRecord
from keepstep.model.status import HookStatus
from keepstep.store import changes, clock, hooks
from keepstep.store.script import Script
from tests.support.moves.draw import HOOKS, LEASE_MS, MANY, SINKS, Draw, Place, a_trigger


def a_hook(place: Place, draw: Draw) -> HookRecord | None:
    """A row of the outbox."""
    there = place.dicts.hook.all()
    return draw.one(*there) if there else None


def trigger(place: Place, draw: Draw) -> Any:
    """Trigger a hook."""
    made = a_trigger(draw)
    return lambda: hooks.insert_trigger(made)


def deliver(place: Place, draw: Draw) -> Any:
    """Look for due hooks, and claim them."""
    places = dict.fromkeys(draw.some(HOOKS), draw.one(1, 2))
    now = place.clock.now

    def script() -> Script[Any]:
        first = yield from hooks.first_due_hooks("sqlite", HOOKS)
        return first, (yield from hooks.claim_hooks("sqlite", places, LEASE_MS, now))

    return script


def finish(place: Place, draw: Draw) -> Any:
    """Write an outcome, perhaps of an earlier claim."""
    row = a_hook(place, draw)
    if row is None:
        return clock.read_now
    outcome = draw.one(Delivered(), Dead(None), Dead("{}"), Again(draw.at(), "{}"), GivenBack(draw.at()))
    done = Finished(row.id, row.fence - draw.one(0, 0, 0, 1), outcome, draw.at())
    return lambda: hooks.finish_hooks([done])


def tend(place: Place, draw: Draw) -> Any:
    """List hooks, and renew, requeue or prune."""
    row, status, name = a_hook(place, draw), draw.one(None, *HookStatus), draw.one(None, *HOOKS)
    verb = draw.one("renew", "requeue", "prune")
    before, lock_it = draw.at(), draw.one(False, True)

    def script() -> Script[Any]:
        listed = yield from hooks.list_hooks(status, name, MANY, 5)
        if row is not None and verb == "renew":
            yield from hooks.renew_hooks([(row.id, row.fence)], before)
        elif row is not None and verb == "requeue":
            yield from hooks.requeue_hook(row)
        found = yield from hooks.read_hook(1, lock=lock_it)
        pruned = 0
        if verb == "prune":
            pruned = yield from hooks.prune_hooks({HookStatus.DELIVERED: before, HookStatus.DEAD: before}, 1)
        return listed, found, pruned

    return script


def publish(place: Place, draw: Draw) -> Any:
    """Number changes, read them, prune them."""
    limit, after = draw.one(1, 5), draw.one(0, 1)
    up_to, before = draw.one(0, 1, 9), draw.at()

    def script() -> Script[Any]:
        yield from changes.begin(SINKS)
        return [
            (yield from changes.publish(limit)),
            (yield from changes.read_changes(after, MANY)),
            (yield from changes.prune(up_to, before, limit)),
            (yield from changes.read_stream()),
        ]

    return script


def feed(place: Place, draw: Draw) -> Any:
    """Do something with a sink, perhaps under another fence."""
    name, verb, to = (
        draw.one(*SINKS),
        draw.one("renew", "move", "free", "off", "place", "claim"),
        draw.one(0, 1),
    )
    sink = place.dicts.change_sink.get(name)
    fence = (0 if sink is None else sink.fence) - draw.one(0, 0, 0, 1)
    triggers = [a_trigger(draw)]

    def script() -> Script[Any]:
        done: Any = None
        match verb:
            case "renew":
                done = yield from changes.renew_sink(name, fence, LEASE_MS)
            case "move":
                done = yield from changes.move_sink(name, fence, to, triggers)
            case "free":
                yield from changes.free_sink(name, fence)
            case "off":
                yield from changes.put_sink_off(name, fence, LEASE_MS, "{}")
            case "place":
                done = yield from changes.place_sink(name, to)
            case _:
                done = yield from changes.claim_sink(name, LEASE_MS)
        return done, (yield from changes.all_sinks()), (yield from changes.read_sinks([name]))

    return script
