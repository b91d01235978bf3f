"""The databases of simulations, kept from one to the next: a schema and compiled statements cost more than a run."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from keepstep_testing.sim.database import Database

_SPARE: dict[tuple[int, ...], list[tuple[tuple[MetaData, ...], Database]]] = {}
"""By the identities of the tables' collections, which are kept with them so that no other gets the same identity."""


def take_database(metadata: tuple[MetaData, ...]) -> Database:
    """An empty database in memory with keepstep's tables and the user's, for one simulation."""
    spare = _SPARE.setdefault(tuple(id(each) for each in metadata), [])
    if not spare:
        return Database(user_tables=statements_of(metadata))
    database = spare.pop()[1]
    database.reset()
    return database


def give_back(metadata: tuple[MetaData, ...], database: Database) -> None:
    """A simulation has ended."""
    _SPARE[tuple(id(each) for each in metadata)].append((metadata, database))


def statements_of(metadata: tuple[MetaData, ...]) -> list[str]:
    """What makes the tables."""
    dialect = sqlite.dialect()
    found: list[str] = []
    for table in (each for one in metadata for each in one.sorted_tables):
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        found += [str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes]
    return found
