"""A statement: SQLAlchemy Core in, raw text and parameter order per dialect out, compiled once.

The hot path hands the text to the raw driver; a host's SQLAlchemy connection executes ``clause`` itself. Texts are
static whatever the length of a list (:func:`among`), so drivers and servers prepare them once. What the two dialects
say differently is a small construct here; no query may live here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVarTuple, cast

import orjson
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Dialect,
    Executable,
    Select,
    Text,
    TypeDecorator,
    bindparam,
    literal_column,
    types,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

Ts = TypeVarTuple("Ts")

DialectName = Literal["sqlite", "postgresql"]

_DIALECTS: dict[DialectName, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": asyncpg.dialect(),
}
_QMARK = sqlite.dialect(paramstyle="qmark")
DATABASE_CLOCK: Mapping[DialectName, str] = {
    "sqlite": "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}
"""Database time in milliseconds, as each dialect says it; statements say :class:`db_now`."""

IDLE_MAX = "10s"
"""How long PostgreSQL lets a transaction with locks of ours stand still. A process that froze in its middle would keep
its runs from everybody else for as long as it lives: a rescue passes over runners that are being committed for."""

_NO_NOW: dict[str, Any] = {"now": None}


class ListOf(TypeDecorator[Sequence[Any]]):
    """A list bound as one parameter: an array on PostgreSQL, JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: types.TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Take the dialect's own form of a list."""
        return postgresql.ARRAY(self.item) if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        """Write the list as the dialect reads it."""
        if value is None:
            return None
        return list(value) if dialect.name == "postgresql" else as_json(value)


def as_json(values: Sequence[Any]) -> str:
    """A list as JSON text, for ``json_each``; rows may be tuples."""
    return orjson.dumps(values).decode()


def ids(name: str) -> BindParameter[Any]:
    """Bind a list of 64-bit ids as one parameter."""
    return bindparam(name, type_=ListOf(BigInteger()))


def names(name: str) -> BindParameter[Any]:
    """Bind a list of texts as one parameter."""
    return bindparam(name, type_=ListOf(Text()))


def fixed(value: int | str) -> ColumnElement[Any]:
    """Write a constant into the text itself: planners see it, and no parameter is bound."""
    if isinstance(value, int):
        return literal_column(str(int(value)), BigInteger())
    quoted = str(value).replace("'", "''")
    return literal_column(f"'{quoted}'", Text())


def limited(query: Select[*Ts], name: str = "limit") -> Select[*Ts]:
    """Take at most ``:name`` rows. The offset is written out, as SQLAlchemy would bind a 0 for it on SQLite."""
    return query.limit(bindparam(name, type_=BigInteger())).offset(fixed(0))


class among(FunctionElement[Any]):  # noqa: N801  # reads as SQL: where(among(task.c.run_id, ids("run_ids")))
    """``column IN (the list)``, with one parameter and one text for every length of the list."""

    type = NullType()  # a Boolean would be compared with 1 on SQLite, which hides the index from its planner
    inherit_cache = True
    name = "among"

    def __init__(self, column: ColumnElement[Any], values: BindParameter[Any]) -> None:
        super().__init__(column, values)


@compiles(among, "postgresql")
def _among_array(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(each, **kw) for each in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(among, "sqlite")
def _among_json(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(each, **kw) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608  # both are compiled, nothing is spliced in


class each_of(FunctionElement[Any]):  # noqa: N801  # reads as SQL: select_from(each_of(names("workflows")))
    """The elements of a list as rows: ``each_of(names("workflows")).table_valued("value")``."""

    type = NullType()
    inherit_cache = True
    name = "each_of"


@compiles(each_of, "postgresql")
def _each_of_array(element: each_of, compiler: SQLCompiler, **kw: Any) -> str:
    (values,) = (compiler.process(each, **kw) for each in element.clauses)
    return f"(SELECT unnest({values}) AS value)"  # it is compiled, nothing is spliced in


@compiles(each_of, "sqlite")
def _each_of_json(element: each_of, compiler: SQLCompiler, **kw: Any) -> str:
    (values,) = (compiler.process(each, **kw) for each in element.clauses)
    return f"json_each({values})"


class db_now(FunctionElement[int]):  # noqa: N801  # reads as SQL: where(task.c.run_at <= db_now())
    """Database time in milliseconds (B5).

    It is the bind ``now`` where that is set (simulation; SQLite, whose clock is this machine's), else the
    database's clock. Executors fill ``now`` in; a script may pass it to decide at an instant of its own.
    """

    type = BigInteger()
    inherit_cache = True
    name = "db_now"

    def __init__(self) -> None:
        super().__init__(bindparam("now", type_=BigInteger(), required=False))


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    (now,) = (compiler.process(each, **kw) for each in element.clauses)
    return f"coalesce({now}, {DATABASE_CLOCK['postgresql']})"


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    (now,) = (compiler.process(each, **kw) for each in element.clauses)
    return f"coalesce({now}, {DATABASE_CLOCK['sqlite']})"


class Statement:
    """One statement of the store.

    Args:
        clause: the SQLAlchemy construct; ``connection.execute(statement.clause, params)`` works on any connection.
        label: what plans, traces and errors call it.
        order: parameter names of one positional row, for ``executemany`` with tuples (see ``script.Call``).
    """

    __slots__ = ("_binders", "_positional", "_texts", "clause", "label", "order", "takes_now")

    def __init__(self, clause: Executable, label: str, order: Sequence[str] = ()) -> None:
        self.clause = clause
        self.label = label
        self.order: tuple[str, ...] = tuple(order)
        self.takes_now: bool | None = None
        self._texts: dict[DialectName, str] = {}
        self._binders: dict[DialectName, Callable[[Mapping[str, Any]], Any]] = {}
        self._positional: str | None = None

    def __repr__(self) -> str:
        return f"Statement({self.label!r})"

    def text(self, dialect: DialectName) -> str:
        """The raw text: ``:name`` on SQLite, ``$1`` on PostgreSQL."""
        found = self._texts.get(dialect)
        return found if found is not None else self._compile(dialect)

    def bind(self, dialect: DialectName, params: Mapping[str, Any]) -> Any:
        """The driver's own form of ``params``: a dict for SQLite, a tuple for asyncpg; lists are converted.

        A missing ``now`` is bound as None: the database's clock.
        """
        if dialect not in self._binders:
            self._compile(dialect)
        return self._binders[dialect](params)

    def positional(self) -> str:
        """The SQLite text with ``?`` for ``executemany`` of rows in ``order``."""
        if self._positional is None:
            compiled = _compiled(self.clause, _QMARK)
            found = tuple(compiled.positiontup or ())
            assert found == self.order, f"{self.label}: rows are {self.order}, the text takes {found}"
            self._positional = str(compiled)
        return self._positional

    def _compile(self, dialect: DialectName) -> str:
        compiled = _compiled(self.clause, _DIALECTS[dialect])
        bound = {name: bind for bind, name in compiled.bind_names.items()}
        assert all(bind.value is None for bind in bound.values()), (
            f"{self.label}: write constants with fixed()"
        )
        self.takes_now = "now" in bound
        if dialect == "sqlite":
            lists = [name for name, bind in bound.items() if isinstance(bind.type, ListOf)]
            self._binders[dialect] = _named_binder(lists, self.takes_now)
        else:
            order = tuple(compiled.positiontup or ())
            assert self.order in {(), order}, f"{self.label}: rows are {self.order}, the text takes {order}"
            self._binders[dialect] = _tuple_binder(order, self.takes_now)
        self._texts[dialect] = text = str(compiled)
        return text


def _compiled(clause: Executable, dialect: Dialect) -> SQLCompiler:
    return cast("SQLCompiler", cast("ClauseElement", clause).compile(dialect=dialect))


def _named_binder(lists: Sequence[str], takes_now: bool) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    def bind(params: Mapping[str, Any]) -> Mapping[str, Any]:
        bound = {**_NO_NOW, **params} if takes_now else dict(params)
        for name in lists:
            bound[name] = as_json(bound[name])
        return bound

    def keep(params: Mapping[str, Any]) -> Mapping[str, Any]:
        return params

    return bind if lists or takes_now else keep


def _tuple_binder(order: tuple[str, ...], takes_now: bool) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    def bind(params: Mapping[str, Any]) -> tuple[Any, ...]:
        bound = {**_NO_NOW, **params} if takes_now else params
        return tuple(bound[name] for name in order)

    return bind
