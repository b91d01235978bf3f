"""The change feed: changes are written with what they tell of, numbered densely, read by number, fed to sinks (F3).

Transactions commit in another order than they took their keys: who reads ``id > checkpoint`` misses what commits late.
So changes are written without a number. The publisher locks the stream's row, reads what is committed and has none,
and numbers it: the lock makes numbers dense and unique, and a change that commits late is numbered late. Changes of
one instance are written one after another, under locks of its rows, so their keys are in the order of their commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, null, or_, select
from sqlalchemy.dialects.postgresql import insert

from keepstep.model.records import ChangeRecord, SinkRecord
from keepstep.store.hooks import Trigger, insert_trigger
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import Statement, among, db_now, fixed, limited, names
from keepstep.store.tables import IS_PUBLISHED, IS_UNPUBLISHED, change, change_sink, change_stream

STREAM = "changes"
"""The name of the one stream."""

_columns = [change.c[name] for name in ChangeRecord._fields]
ADD_CHANGE = Statement(
    insert(change)
    .inline()
    .values({each.name: bindparam(each.name, type_=each.type) for each in _columns})
    .on_conflict_do_nothing(),
    "add change",
    ChangeRecord._fields,
)
"""Write a change, unless it is there: its boundary was written before, and the answer was lost."""

_THIS_STREAM = change_stream.c.name == fixed(STREAM)
BEGIN_STREAM = Statement(
    insert(change_stream)
    .values(name=fixed(STREAM), published=fixed(0), pruned=fixed(0))
    .on_conflict_do_nothing(),
    "begin stream",
)
LOCK_STREAM = Statement(
    select(change_stream.c.published).where(_THIS_STREAM).with_for_update(skip_locked=True), "lock stream"
)
READ_STREAM = Statement(
    select(change_stream.c.published, change_stream.c.pruned, db_now()).where(_THIS_STREAM), "read stream"
)
MOVE_STREAM = Statement(
    change_stream.update().where(_THIS_STREAM).values(published=bindparam("last", type_=BigInteger())),
    "move stream",
)
UNPUBLISHED = Statement(
    limited(select(change.c.id).where(IS_UNPUBLISHED).order_by(change.c.id)), "unpublished changes"
)
PUBLISH = Statement(
    change.update().where(change.c.id == bindparam("row")).values(pub_seq=bindparam("place")),
    "publish change",
    ("place", "row"),
)
READ_CHANGES = Statement(
    limited(
        select(change.c.pub_seq, *_columns)
        .where(IS_PUBLISHED, change.c.pub_seq > bindparam("after", type_=BigInteger()))
        .order_by(change.c.pub_seq)
    ),
    "read changes",
)

BEGIN_SINK = Statement(
    insert(change_sink)
    .values(
        name=bindparam("name", type_=change_sink.c.name.type),
        after=bindparam("after", type_=BigInteger()),
        fence=fixed(0),
        attempt=fixed(0),
    )
    .on_conflict_do_nothing(),
    "begin sink",
)
READ_SINKS = Statement(
    select(change_sink).where(among(change_sink.c.name, names("names"))).order_by(change_sink.c.name),
    "read sinks",
)
ALL_SINKS = Statement(select(change_sink).order_by(change_sink.c.name), "all sinks")
PLACE_SINK = Statement(
    change_sink.update()
    .where(change_sink.c.name == bindparam("of_name"))
    .values(
        after=bindparam("to_after", type_=BigInteger()),
        fence=change_sink.c.fence + fixed(1),
        run_at=null(),
        attempt=fixed(0),
        error=null(),
    )
    .returning(change_sink.c.name),
    "place sink",
)
_is_free = or_(change_sink.c.run_at.is_(None), change_sink.c.run_at <= db_now())
CLAIM_SINK = Statement(
    change_sink.update()
    .where(change_sink.c.name == bindparam("of_name"), _is_free)
    .values(
        fence=change_sink.c.fence + fixed(1),
        run_at=db_now() + bindparam("lease_ms", type_=BigInteger()),
    )
    .returning(*change_sink.c),
    "claim sink",
)
_claimed = and_(change_sink.c.name == bindparam("of_name"), change_sink.c.fence == bindparam("of_fence"))
_SET_SINK = change_sink.update().where(_claimed)
RENEW_SINK = Statement(
    _SET_SINK.values(run_at=db_now() + bindparam("lease_ms", type_=BigInteger())).returning(
        change_sink.c.fence
    ),
    "renew sink",
)
MOVE_SINK = Statement(
    _SET_SINK.values(
        after=bindparam("to_after", type_=BigInteger()), attempt=fixed(0), error=null()
    ).returning(change_sink.c.fence),
    "move sink",
)
FREE_SINK = Statement(_SET_SINK.values(run_at=null()), "free sink")
PUT_SINK_OFF = Statement(
    _SET_SINK.values(
        run_at=db_now() + bindparam("pause_ms", type_=BigInteger()),
        attempt=change_sink.c.attempt + fixed(1),
        error=bindparam("to_error"),
    ),
    "put sink off",
)

OLDEST = Statement(
    limited(
        select(change.c.pub_seq, change.c.at)
        .where(IS_PUBLISHED, change.c.pub_seq > bindparam("after", type_=BigInteger()))
        .order_by(change.c.pub_seq)
    ),
    "oldest changes",
)
PRUNE_CHANGES = Statement(
    change.delete().where(IS_PUBLISHED, change.c.pub_seq <= bindparam("up_to", type_=BigInteger())),
    "prune changes",
)
MARK_PRUNED = Statement(
    change_stream.update()
    .where(_THIS_STREAM, change_stream.c.pruned < bindparam("up_to", type_=BigInteger()))
    .values(pruned=bindparam("to_pruned", type_=BigInteger())),
    "mark pruned",
)


class Stream(NamedTuple):
    """How far the stream is: the last number that was given, the last one that was pruned, and database time."""

    published: int
    pruned: int
    now: int


class Published(NamedTuple):
    """A change with its number."""

    pub_seq: int
    change: ChangeRecord


def publish(limit: int) -> Script[int]:
    """Number what is committed and has no number, oldest first; how many, 0 when another publisher is at it.

    The row of the stream is locked by a statement of its own, so that the next one sees all that was numbered before.
    """
    found = yield Call(LOCK_STREAM)
    if not found:
        return 0
    last: int = found[0][0]
    rows = yield Call(UNPUBLISHED, {"limit": limit})
    if not rows:
        return 0
    yield Call(PUBLISH, [(last + place, row[0]) for place, row in enumerate(rows, 1)])
    yield Call(MOVE_STREAM, {"last": last + len(rows)})
    return len(rows)


def begin(sinks: Sequence[str]) -> Script[None]:
    """Make the rows of the stream and of sinks that are new: they begin with the first change that is still there."""
    yield Call(BEGIN_STREAM)
    for name in sinks:
        stream = yield from read_stream()
        yield Call(BEGIN_SINK, {"name": name, "after": stream.pruned})


def read_stream() -> Script[Stream]:
    """How far the stream is."""
    found = yield Call(READ_STREAM)
    if found:
        return Stream(*found[0])
    return Stream(0, 0, 0)


def read_changes(after: int, limit: int) -> Script[list[Published]]:
    """Changes with numbers above ``after``, in their order."""
    rows = yield Call(READ_CHANGES, {"after": after, "limit": limit})
    return [_published(row) for row in rows]


def _published(row: Row) -> Published:
    return Published(row[0], ChangeRecord._make(row[1:]))


def read_sinks(of: Sequence[str]) -> Script[list[SinkRecord]]:
    """How far these sinks have come."""
    rows = yield Call(READ_SINKS, {"names": list(of)})
    return [SinkRecord._make(row) for row in rows]


def all_sinks() -> Script[list[SinkRecord]]:
    """How far every sink has come that there ever was."""
    return [SinkRecord._make(row) for row in (yield Call(ALL_SINKS))]


def place_sink(name: str, after: int) -> Script[bool]:
    """Have a sink go on after this number, whoever feeds it; False when there is no such sink."""
    return bool((yield Call(PLACE_SINK, {"of_name": name, "to_after": after})))


def claim_sink(name: str, lease_ms: int) -> Script[SinkRecord | None]:
    """Take a sink that nobody feeds; None when somebody does, or its next attempt is not due."""
    found = yield Call(CLAIM_SINK, {"of_name": name, "lease_ms": lease_ms})
    return SinkRecord._make(found[0]) if found else None


def renew_sink(name: str, fence: int, lease_ms: int) -> Script[bool]:
    """Prolong a claim; False when it is another's."""
    found = yield Call(RENEW_SINK, {"of_name": name, "of_fence": fence, "lease_ms": lease_ms})
    return bool(found)


def move_sink(name: str, fence: int, after: int, triggers: Sequence[Trigger] = ()) -> Script[bool]:
    """Note that a sink has taken all changes up to ``after``; False, and nothing is written, when it is another's.

    Args:
        name: the sink's.
        fence: of the claim.
        after: the number of the last change that it has taken.
        triggers: hooks that are to deliver these changes, in the same transaction.
    """
    found = yield Call(MOVE_SINK, {"of_name": name, "of_fence": fence, "to_after": after})
    if not found:
        return False
    for each in triggers:
        yield from insert_trigger(each)
    return True


def free_sink(name: str, fence: int) -> Script[None]:
    """Let go of a sink."""
    yield Call(FREE_SINK, {"of_name": name, "of_fence": fence})


def put_sink_off(name: str, fence: int, pause_ms: int, error: str) -> Script[None]:
    """Let go of a sink that failed: it is tried again after a pause."""
    wanted: dict[str, Any] = {"of_name": name, "of_fence": fence, "pause_ms": pause_ms, "to_error": error}
    yield Call(PUT_SINK_OFF, wanted)


def prune(up_to: int, before: int, limit: int) -> Script[int]:
    """Delete published changes, oldest first, that happened before an instant; how many.

    Args:
        up_to: the last number that every sink has taken.
        before: database time, ms.
        limit: at most.
    """
    stream = yield from read_stream()
    rows = yield Call(OLDEST, {"after": stream.pruned, "limit": limit})
    last = stream.pruned
    for pub_seq, at in rows:
        if at >= before or pub_seq > up_to:
            break
        last = pub_seq
    if last == stream.pruned:
        return 0
    yield Call(MARK_PRUNED, {"up_to": last, "to_pruned": last})
    yield Call(PRUNE_CHANGES, {"up_to": last})
    return last - stream.pruned
