"""Where code and records part: resolutions that the code did not wait for in their turn (E10). Words and comparison only."""

from __future__ import annotations

from collections.abc import Iterable

from keepstep.model.ids import parse_key
from keepstep.model.records import StepRecord

_SHOWN_MAX = 12


class Drift:
    """What a replay finds that does not fit.

    Attributes:
        asked: keys in the order in which the code asked for them.
        skipped: resolutions that found nobody waiting, by key.
        rival: what the code asked for that first contradicted a record.
    """

    __slots__ = ("asked", "rival", "skipped")

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.rival: str | None = None
        self.skipped: dict[str, StepRecord] = {}

    def skip(self, record: StepRecord, open_and_new: Iterable[str]) -> str | None:
        """Remember a resolution; tells the contradiction if something else is asked for in its place.

        Args:
            record: the resolution whose turn it is.
            open_and_new: keys that are open and have no record of their own.
        """
        self.skipped[record.key] = record
        rival = next((key for key in open_and_new if _takes_place_of(key, record.key)), None)
        return None if rival is None else self._differs(record, rival, record.seq or 0)

    def ask(self, key: str, is_new: bool, seq: int) -> str | None:
        """Tell how asking for ``key`` after resolution ``seq`` contradicts the records, or None.

        Args:
            key: what the code asks for.
            is_new: it has no record of its own.
            seq: the last resolution delivered.
        """
        record = self.skipped.get(key)
        if record is None and is_new:
            record = next((held for held in self.skipped.values() if _takes_place_of(key, held.key)), None)
        return None if record is None else self._differs(record, key, seq)

    def _differs(self, record: StepRecord, asked: str, seq: int) -> str:
        self.rival = self.rival or asked
        order = self.asked if asked in self.asked else [*self.asked, asked]
        shown = ", ".join(order[-_SHOWN_MAX:])
        if asked == record.key:
            what = f"the code asks for it only now, after resolution {seq}"
        else:
            what = f"the code asks for {asked!r} in its place"
        return (
            f"{record.key!r} is recorded as resolution {record.seq} ({record.status}), but {what}. "
            f"In this replay the code asked for: {'… ' if len(order) > _SHOWN_MAX else ''}{shown}. "
            "Deploy code that asks for what is recorded before the resolutions that followed it, or restart the instance"
        )


def _takes_place_of(key: str, recorded: str) -> bool:
    """Whether ``key`` is the same use of the same name, but of another kind."""
    asked, held = parse_key(key), parse_key(recorded)
    return asked.kind != held.kind and (asked.scope, asked.name, asked.n) == (held.scope, held.name, held.n)
