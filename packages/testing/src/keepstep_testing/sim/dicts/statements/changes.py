"""The change feed: changes, their stream and its sinks (F3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.records import SinkRecord
from keepstep.store import changes
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import ChangeRow, DictDatabase, StreamRow

STREAM = changes.STREAM


@answers(changes.ADD_CHANGE)
def add_change(db: DictDatabase, *values: Any) -> None:
    """A change is told, unless it was."""
    db.insert_or_leave(db.change, ChangeRow(db.change.next_number(), *values, pub_seq=None))


@answers(changes.BEGIN_STREAM)
def begin_stream(db: DictDatabase, _given: Mapping[str, Any], _now: int) -> None:
    """The stream is there."""
    db.insert_or_leave(db.change_stream, StreamRow(STREAM, 0, 0))


@answers(changes.LOCK_STREAM)
def lock_stream(db: DictDatabase, _given: Mapping[str, Any], _now: int) -> Rows:
    """The last number that was given."""
    stream = db.change_stream.get(STREAM)
    return () if stream is None else [(stream.published,)]


@answers(changes.READ_STREAM)
def read_stream(db: DictDatabase, _given: Mapping[str, Any], now: int) -> Rows:
    """How far the stream is numbered, and pruned; and the time."""
    stream = db.change_stream.get(STREAM)
    return () if stream is None else [(stream.published, stream.pruned, now)]


@answers(changes.MOVE_STREAM)
def move_stream(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """Numbers were given."""
    stream = db.change_stream.get(STREAM)
    if stream is not None:
        db.put(db.change_stream, stream._replace(published=given["last"]))


@answers(changes.MARK_PRUNED)
def mark_pruned(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """The stream begins later from now on; never earlier."""
    stream = db.change_stream.get(STREAM)
    if stream is not None and stream.pruned < given["up_to"]:
        db.put(db.change_stream, stream._replace(pruned=given["to_pruned"]))


@answers(changes.UNPUBLISHED)
def unpublished(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """What has no number, the oldest first."""
    return [(row.id,) for row in db.change.all() if row.pub_seq is None][: given["limit"]]


@answers(changes.PUBLISH)
def publish(db: DictDatabase, place: int, row: int) -> None:
    """A change has its number."""
    found = db.change.get(row)
    if found is not None:
        db.put(db.change, found._replace(pub_seq=place))


def _published(db: DictDatabase, given: Mapping[str, Any]) -> list[ChangeRow]:
    """Numbered changes beyond a number, in their order."""
    found = [row for row in db.change.rows.values() if (row.pub_seq or 0) > max(given["after"], 0)]
    return sorted(found, key=lambda row: row.pub_seq or 0)[: given["limit"]]


@answers(changes.READ_CHANGES)
def read_changes(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Numbers and changes."""
    return [(row.pub_seq, *row[1:-1]) for row in _published(db, given)]


@answers(changes.OLDEST)
def oldest(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Numbers and instants."""
    return [(row.pub_seq, row.at) for row in _published(db, given)]


@answers(changes.PRUNE_CHANGES)
def prune_changes(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """Numbered changes up to a number go."""
    for row in db.change.all():
        if row.pub_seq is not None and row.pub_seq <= given["up_to"]:
            db.delete(db.change, row.id)


@answers(changes.BEGIN_SINK)
def begin_sink(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """A sink is there."""
    db.insert_or_leave(db.change_sink, SinkRecord(given["name"], given["after"], 0, None, 0, None))


@answers(changes.READ_SINKS)
def read_sinks(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Sinks by name."""
    return [row for row in db.change_sink.all() if row.name in set(given["names"])]


@answers(changes.ALL_SINKS)
def all_sinks(db: DictDatabase, _given: Mapping[str, Any], _now: int) -> Rows:
    """Every sink."""
    return db.change_sink.all()


@answers(changes.PLACE_SINK)
def place_sink(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A sink goes on elsewhere, whoever feeds it."""
    sink = db.change_sink.get(given["of_name"])
    if sink is None:
        return ()
    db.put(db.change_sink, SinkRecord(sink.name, given["to_after"], sink.fence + 1, None, 0, None))
    return [(sink.name,)]


@answers(changes.CLAIM_SINK)
def claim_sink(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A sink that nobody feeds has a feeder."""
    sink = db.change_sink.get(given["of_name"])
    if sink is None or (sink.run_at is not None and sink.run_at > now):
        return ()
    claimed = sink._replace(fence=sink.fence + 1, run_at=now + given["lease_ms"])
    db.put(db.change_sink, claimed)
    return [claimed]


def _set(db: DictDatabase, given: Mapping[str, Any], **values: Any) -> Rows:
    """A sink changes, if the claim with this fence is still the last one; its fence."""
    sink = db.change_sink.get(given["of_name"])
    if sink is None or sink.fence != given["of_fence"]:
        return ()
    db.put(db.change_sink, sink._replace(**values))
    return [(sink.fence,)]


@answers(changes.RENEW_SINK)
def renew_sink(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A claim is prolonged."""
    return _set(db, given, run_at=now + given["lease_ms"])


@answers(changes.MOVE_SINK)
def move_sink(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A sink has taken changes."""
    return _set(db, given, after=given["to_after"], attempt=0, error=None)


@answers(changes.FREE_SINK)
def free_sink(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """Nobody feeds it any more."""
    _set(db, given, run_at=None)


@answers(changes.PUT_SINK_OFF)
def put_sink_off(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """A sink failed once more, and rests."""
    sink = db.change_sink.get(given["of_name"])
    attempt = 0 if sink is None else sink.attempt + 1
    _set(db, given, run_at=now + given["pause_ms"], attempt=attempt, error=given["to_error"])
