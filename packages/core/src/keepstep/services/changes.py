"""The stream of changes as a caller asks for it: read by number, its sinks inspected and moved (F3)."""

from __future__ import annotations

from keepstep.errors import ChangesPrunedError, InvalidInputError
from keepstep.model.change import Change, change_of
from keepstep.model.duration import to_datetime
from keepstep.model.outcome import SinkView
from keepstep.model.recorded import read_error
from keepstep.model.records import SinkRecord
from keepstep.services.listing import check_limit
from keepstep.services.target import Done
from keepstep.store import changes as store
from keepstep.store.script import Script


def check_number(value: object, what: str) -> int:
    """Read a number of the stream.

    Raises:
        InvalidInputError: it is none.
    """
    if type(value) is not int or not 0 <= value < 2**63:
        raise InvalidInputError(f"{what} is the pub_seq of a change, 0 or more, not {value!r}")
    return value


def read_page(after: int | None, limit: int) -> Script[Done[list[Change]]]:
    """Read what follows a number.

    Args:
        after: the number of the last change that the caller has; None = from the first that is kept.
        limit: how many at most.

    Raises:
        InvalidInputError: ``after`` is no number, or the limit is out of range.
        ChangesPrunedError: changes after it are kept no more.
    """
    most = check_limit(limit)
    stream = yield from store.read_stream()
    start = stream.pruned if after is None else check_number(after, "after")
    if start < stream.pruned:
        raise ChangesPrunedError(
            f"changes up to {stream.pruned} are kept no more, so those after {start} cannot be read without a gap; "
            "read from after=None on, and look up what was missed with app.workflows"
        )
    rows = yield from store.read_changes(start, most)
    return Done([change_of(*each) for each in rows])


def list_sinks() -> Script[Done[list[SinkView]]]:
    """Read how far each sink has come."""
    stream = yield from store.read_stream()
    rows = yield from store.all_sinks()
    return Done([_view(each, stream.published) for each in rows])


def move(name: str, after: int) -> Script[Done[None]]:
    """Have a sink go on after another change: back, to get changes again, or ahead, past one that it cannot take.

    Raises:
        InvalidInputError: there is no such sink, or ``after`` is no number.
    """
    to_after = check_number(after, "after")
    if not (yield from store.place_sink(name, to_after)):
        raise InvalidInputError(f"no sink of changes is named {name!r}; app.changes.sinks() lists them")
    return Done(None)


def _view(row: SinkRecord, published: int) -> SinkView:
    return SinkView(
        name=row.name,
        after=row.after,
        behind=max(0, published - row.after),
        failures=row.attempt,
        due_at=None if row.run_at is None else to_datetime(row.run_at),
        error=None if row.error is None else read_error(row.error),
    )
