"""The outbox: hooks that are to be called after a commit (F1)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_BUSY = {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}


def upgrade() -> None:
    """Create the table and the indexes that serve its queries."""
    table = "keepstep_hook"
    op.create_table(
        table,
        sa.Column("id", _KEY, autoincrement=False, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("key", _NAME),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("run_at", sa.BigInteger()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("trace", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_keepstep_hook"),
        postgresql_with=_BUSY,
    )
    due, finished = sa.text("run_at IS NOT NULL"), sa.text("finished_at IS NOT NULL")
    collapsible = sa.text("status = 'pending' AND \"key\" IS NOT NULL")
    op.create_index("ix_keepstep_hook_due", table, ["name", "run_at"], sqlite_where=due, postgresql_where=due)
    op.create_index(
        "uq_keepstep_hook_key",
        table,
        ["name", "key"],
        unique=True,
        sqlite_where=collapsible,
        postgresql_where=collapsible,
    )
    op.create_index(
        "ix_keepstep_hook_finished",
        table,
        ["status", "finished_at"],
        sqlite_where=finished,
        postgresql_where=finished,
    )
