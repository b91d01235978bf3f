"""Tables of a fragment that is mounted under another name than its own: each has the name as a prefix (G2).

The author writes statements on the tables as declared; :class:`Tables` puts the mounted ones in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, quoted_name
from sqlalchemy.sql import visitors


class Tables:
    """The tables of one mount.

    Args:
        declared: the fragment's schema.
        prefix: what the names begin with; ``""`` for the declared ones themselves.

    Attributes:
        metadata: the mount's schema.
    """

    def __init__(self, declared: MetaData | None, prefix: str) -> None:
        self._mounted: Mapping[Table, Table] = {}
        self.metadata = declared
        if declared is not None and prefix:
            self.metadata = MetaData(naming_convention=declared.naming_convention)
            self._mounted = _copies(declared, self.metadata, prefix)

    def rewritten(self, statement: Any) -> Any:
        """The statement with the mount's tables; text and the tables of others stay as they are."""
        if not self._mounted or not hasattr(statement, "get_children"):
            return statement
        return visitors.replacement_traverse(
            cast("visitors.ExternallyTraversible", statement), {}, self._replacement
        )

    def _replacement(self, element: Any, **_: Any) -> Any:
        if isinstance(element, Table):
            return self._mounted.get(cast("Table", element))
        if isinstance(element, Column) and element.table in self._mounted:
            return self._mounted[element.table].c[element.key]
        return None


def _copies(declared: MetaData, into: MetaData, prefix: str) -> dict[Table, Table]:
    copies = {each: each.to_metadata(into, name=prefix + each.name) for each in declared.sorted_tables}
    renamed = {table.key: copy for table, copy in copies.items()}
    for copy in copies.values():
        for constraint in list(copy.constraints):
            if isinstance(constraint, ForeignKeyConstraint):
                _repoint(copy, constraint, renamed)
            elif isinstance(constraint.name, str):
                constraint.name = _prefixed(prefix, constraint.name)
        for index in copy.indexes:
            index.name = quoted_name(_prefixed(prefix, index.name or ""), quote=None)
    return copies


def _repoint(copy: Table, constraint: ForeignKeyConstraint, renamed: Mapping[str, Table]) -> None:
    """Have a foreign key point at the copy of its table; one out of the fragment stays as it is."""
    targets = [each.target_fullname.rpartition(".") for each in constraint.elements]
    if not all(table in renamed for table, _, _ in targets):
        return
    copy.constraints.discard(constraint)
    for each in constraint.elements:
        each.parent.foreign_keys.discard(each)
        copy.foreign_keys.discard(each)
    copy.append_constraint(
        ForeignKeyConstraint(
            [each.parent for each in constraint.elements],
            [renamed[table].c[column] for table, _, column in targets],
            onupdate=constraint.onupdate,
            ondelete=constraint.ondelete,
            deferrable=constraint.deferrable,
            initially=constraint.initially,
            use_alter=constraint.use_alter,
        )
    )


def _prefixed(prefix: str, name: str) -> str:
    return name if prefix in name else f"{prefix}{name}"
