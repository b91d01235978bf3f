"""Moves: small scripts of the store's, made from a seed and what is stored, for comparing two stores step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keepstep.store.script import Script
from tests.support.moves import claiming, outbox, steering
from tests.support.moves.draw import Draw, Place

Move = Callable[[Place, Draw], Callable[[], Script[Any]]]
"""Gives what makes a script, for each store a fresh one."""

MOVES: tuple[Move, ...] = (
    claiming.create,
    claiming.create,
    claiming.register,
    claiming.renew,
    claiming.claim,
    claiming.claim,
    claiming.look,
    claiming.look,
    claiming.group,
    claiming.group,
    claiming.group,
    claiming.leased,
    claiming.optimistic,
    claiming.optimistic,
    claiming.give_back,
    claiming.free,
    steering.steer,
    steering.steer,
    steering.read,
    steering.history,
    outbox.trigger,
    outbox.deliver,
    outbox.finish,
    outbox.tend,
    outbox.publish,
    outbox.feed,
    outbox.feed,
    steering.pass_time,
    steering.read_all,
)
"""What may come next; what leads to more is there more than once."""

BEGINNING: tuple[tuple[Move, int], ...] = tuple(
    (move, seed)
    for move in (
        claiming.register,
        claiming.create,
        steering.steer,
        claiming.claim,
        claiming.group,
        outbox.trigger,
        outbox.deliver,
        outbox.publish,
        outbox.feed,
    )
    for seed in (1, 2, 3)
)
"""What moves find: runners, runs that are held and others that are not, events, hooks, changes."""

__all__ = ["BEGINNING", "MOVES", "Draw", "Move", "Place"]
