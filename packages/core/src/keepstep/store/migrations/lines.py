"""Version lines of fragments: Alembic revisions of their own, or ``create_all`` as the only one."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import MetaData

from keepstep.errors import UsageError
from keepstep.store.migrations import Line

FIRST = "0001"
_REVISION = re.compile(r"v(\d{4})\w*\.py")


def fragment_line(name: str, revisions: Path | None, metadata: MetaData | None, prefix: str) -> Line | None:
    """The line of a mounted fragment; None when it has no tables.

    Args:
        name: of the mount.
        revisions: its folder of Alembic revisions ``v0001_….py``; None = ``metadata`` is the first and only one.
        metadata: its tables.
        prefix: what their names begin with.

    Raises:
        UsageError: the folder has no revisions.
    """
    if revisions is None:
        return None if metadata is None else Line(name, FIRST, None, metadata, prefix)
    found = sorted(
        match[1] for path in Path(revisions).glob("v*.py") if (match := _REVISION.fullmatch(path.name))
    )
    if not found:
        raise UsageError(f"the folder {revisions} has no Alembic revisions named v0001_….py")
    return Line(name, found[-1], Path(revisions), None, prefix)
