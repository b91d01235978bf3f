"""What the Alembic revisions of a fragment need to know of where it is mounted."""

from __future__ import annotations


def table_name(name: str) -> str:
    """A table's, index's or constraint's name in the mount that is being migrated; for use in Alembic revisions.

    The name as it is where the fragment is mounted under its own name, with a prefix where under another one.
    """
    from alembic import op  # noqa: PLC0415  # Alembic takes longer than most starts

    return f"{op.get_context().opts.get('keepstep_prefix', '')}{name}"
