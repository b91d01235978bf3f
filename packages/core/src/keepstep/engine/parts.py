"""What every duty of one engine shares: made once by the engine, passed whole."""

from __future__ import annotations

from dataclasses import dataclass

from keepstep.authoring.registry import Registry
from keepstep.engine.attempts import Attempts
from keepstep.engine.cache import Cache
from keepstep.engine.changes import Changes
from keepstep.engine.feeds import Feeds
from keepstep.engine.hooks import Hooks
from keepstep.engine.options import RunnerOptions
from keepstep.engine.rotation import Rotation
from keepstep.engine.seams import DatabaseClock, Seams
from keepstep.engine.userwrites import UserWrites
from keepstep.model.ids import KeySource
from keepstep.model.limits import Limits
from keepstep.store.api import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The engine's parts.

    Attributes:
        store: the database.
        registry: the workflows that this process can advance.
        options: how its runner works.
        limits: C10.
        seams: clock, randomness, identity.
        clock: this process's estimate of database time.
        keys: fresh internal keys.
        changes: who waits for a run in this process.
        cache: parked bodies.
        attempts: makes attempts of steps.
        user_writes: commits steps that carry the user's own writes.
        hooks: delivers hooks.
        rotation: whose turn it is.
        feeds: publishes changes.
    """

    store: Store
    registry: Registry
    options: RunnerOptions
    limits: Limits
    seams: Seams
    clock: DatabaseClock
    keys: KeySource
    changes: Changes
    cache: Cache
    attempts: Attempts
    user_writes: UserWrites
    hooks: Hooks
    rotation: Rotation
    feeds: Feeds
