"""Statements that read whole tables: for tests that compare databases, never for the engine."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from keepstep.store import tables
from keepstep.store.statement import Statement

ALL_ROWS: Mapping[str, Statement] = {
    each.name: Statement(select(each).order_by(*each.primary_key), f"all rows of {each.name}")
    for each in tables.metadata.sorted_tables
}
"""By table: all of it, by primary key."""
