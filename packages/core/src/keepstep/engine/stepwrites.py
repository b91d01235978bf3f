"""What an attempt left in ``tx``, written in the transaction of its boundary: statements, hooks, new instances (C8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from keepstep.authoring.context import Created, StepTx, Triggered, Written
from keepstep.authoring.trace import current_trace
from keepstep.errors import NonRetryableError
from keepstep.kernel.changes import tell_creation
from keepstep.kernel.create import plan_create
from keepstep.store.hooks import Trigger, insert_trigger
from keepstep.store.host import dialect_of, run_sync
from keepstep.store.runs import insert_creations
from keepstep.store.script import Script
from keepstep.store.statement import DialectName

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def write_buffered(session: Session, tx: StepTx, new_key: Callable[[], int], now: int) -> None:
    """Write in order.

    Args:
        session: in whose transaction.
        tx: what the attempt left.
        new_key: gives a fresh internal key, in any thread.
        now: database time, ms.

    Raises:
        NonRetryableError: an instance that was to be created exists already.
    """
    for write in tx.writes:
        if isinstance(write, Written):
            session.execute(write.statement, write.parameters)
        elif isinstance(write, Triggered):
            run_sync(session, _trigger(write, new_key(), now))
        else:
            run_sync(session, _create(dialect_of(session), write, new_key(), now))


def _trigger(write: Triggered, key: int, now: int) -> Script[None]:
    trace = current_trace()
    carried = orjson.dumps(dict(trace)).decode() if trace else None
    yield from insert_trigger(
        Trigger(key, write.hook.name, write.key, write.due_at, write.payload, carried), now
    )


def _create(dialect: DialectName, new: Created, run_id: int, now: int) -> Script[None]:
    definition = new.workflow
    planned = plan_create(definition.name, definition.version, new.instance_id, run_id, new.params, now)
    creation = tell_creation(definition.changes, planned)
    if run_id not in (yield from insert_creations(dialect, [creation])):
        raise NonRetryableError(
            f"workflow {definition.name!r} instance {new.instance_id!r} exists already: "
            "the step's tx.create could not begin it, and nothing of the step was written",
            name="InstanceAlreadyExistsError",
        )
