"""One table: rows by key, its unique columns, and what may not be empty. Transactions are the database's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Generic, TypeVar

R = TypeVar("R", bound=tuple[Any, ...])

_NOTHING: dict[Any, Any] = {}


class ConstraintError(Exception):
    """A table refuses a row; it stays as it was."""


class Unique:
    """Columns that no two rows may share.

    Args:
        columns: their names.
        where: which rows it is about; None = those in which none of the columns is empty.
    """

    __slots__ = ("columns", "holders", "value", "where")

    def __init__(self, *columns: str, where: Callable[[Any], bool] | None = None) -> None:
        self.columns = columns
        self.where = where
        self.value: Callable[[Any], tuple[Any, ...]] = tuple
        self.holders: dict[tuple[Any, ...], Any] = {}

    def bind(self, fields: Sequence[str]) -> None:
        """Learn where the columns stand in a row."""
        places = [fields.index(each) for each in self.columns]
        first = places[0]
        self.value = itemgetter(*places) if len(places) > 1 else lambda row: (row[first],)

    def of(self, row: Any) -> tuple[Any, ...] | None:
        """What a row holds; None when it is not concerned."""
        value = self.value(row)
        is_concerned = None not in value if self.where is None else self.where(row)
        return value if is_concerned else None


class Table(Generic[R]):
    """Rows of one kind.

    Args:
        name: of the table, without keepstep's prefix.
        record: what a row is; the key are its first columns.
        key: how many columns the key has, 1 or 2.
        optional: columns that may be empty.
        uniques: what else is unique.
        numbered: whether the table gives keys itself: one more than the largest.
        of: the column by which rows are looked for in bulk.

    Attributes:
        rows: by key: the first column, or a pair of the first two.
    """

    __slots__ = ("_of", "_optional", "_parts", "_uniques", "_wide", "name", "numbered", "record", "rows")

    def __init__(
        self,
        name: str,
        record: Callable[..., R],
        key: int = 1,
        *,
        optional: str = "",
        uniques: Sequence[Unique] = (),
        numbered: bool = False,
        of: str | None = None,
    ) -> None:
        fields: tuple[str, ...] = record._fields  # pyright: ignore[reportFunctionMemberAccess]  # of a NamedTuple
        self.name = name
        self.record = record
        self.rows: dict[Any, R] = {}
        self.numbered = numbered
        self._wide = key > 1
        self._optional = frozenset(fields.index(each) for each in optional.split())
        self._uniques = uniques
        self._of = None if of is None else fields.index(of)
        self._parts: dict[Any, dict[Any, R]] = {}
        for each in uniques:
            each.bind(fields)

    def key(self, row: Sequence[Any]) -> Any:
        """The key of a row."""
        return tuple(row[:2]) if self._wide else row[0]

    def get(self, key: Any) -> R | None:
        """The row of a key."""
        return self.rows.get(key)

    def all(self) -> list[R]:
        """All rows, by key."""
        return sorted(self.rows.values())

    def of(self, value: Any) -> list[R]:
        """The rows with this value in the column that bulk is looked for by, in no order."""
        return list(self._parts.get(value, _NOTHING).values())

    def next_number(self) -> int:
        """The key of the next row of a numbered table."""
        return max(self.rows, default=0) + 1

    def lacks(self, row: Sequence[Any]) -> str | None:
        """Why a row may stand nowhere: a column is empty that may not be."""
        if None not in row:
            return None
        empty = next((n for n, each in enumerate(row) if each is None and n not in self._optional), None)
        return None if empty is None else f"{self.name}: column {empty} of {self.key(row)!r} may not be empty"

    def clashes(self, row: Sequence[Any], key: Any) -> str | None:
        """Why a row may not stand under its key: another row has a unique value of it."""
        for each in self._uniques:
            value = each.of(row)
            if value is not None and each.holders.get(value, key) != key:
                return f"{self.name}: {', '.join(each.columns)} {value!r} is there already"
        return None

    def replace(self, key: Any, old: R | None, new: R | None) -> None:
        """Put ``new`` where ``old`` is; None = no row. Nothing is asked."""
        if new is None:
            del self.rows[key]
        else:
            self.rows[key] = new
        if self._of is not None:
            self._regroup(key, old, new)
        for each in self._uniques:
            before = None if old is None else each.of(old)
            after = None if new is None else each.of(new)
            if before != after:
                if before is not None:
                    del each.holders[before]
                if after is not None:
                    each.holders[after] = key

    def clear(self) -> None:
        """Forget all rows."""
        self.rows.clear()
        self._parts.clear()
        for each in self._uniques:
            each.holders.clear()

    def _regroup(self, key: Any, old: R | None, new: R | None) -> None:
        of = self._of
        assert of is not None
        if old is not None and (new is None or new[of] != old[of]):
            del self._parts[old[of]][key]
        if new is not None:
            part = self._parts.get(new[of])
            if part is None:
                part = self._parts[new[of]] = {}
            part[key] = new
