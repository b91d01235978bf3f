"""The databases of simulations, kept from one to the next: a schema and compiled statements cost more than a run."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from keepstep_testing.sim.database import Database

_DATABASES: dict[tuple[int, ...], tuple[tuple[MetaData, ...], Database]] = {}


def database_for(metadata: tuple[MetaData, ...]) -> Database:
    """A database in memory with keepstep's tables and the user's; the same one for the same tables."""
    key = tuple(id(each) for each in metadata)
    if key not in _DATABASES:
        _DATABASES[key] = (
            metadata,
            Database(user_tables=[each for one in metadata for each in _statements(one)]),
        )
    return _DATABASES[key][1]


def _statements(metadata: MetaData) -> list[str]:
    dialect = sqlite.dialect()
    found: list[str] = []
    for table in metadata.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        found += [str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes]
    return found
