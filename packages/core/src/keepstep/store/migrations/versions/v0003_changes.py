"""The change feed: subscribed changes, the stream that numbers them, and how far its sinks have come (F3)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables and the indexes that serve their queries."""
    _change()
    op.create_table(
        "keepstep_change_stream",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_keepstep_change_stream"),
    )
    op.create_table(
        "keepstep_change_sink",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("run_at", sa.BigInteger()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_keepstep_change_sink"),
    )


def _change() -> None:
    table = "keepstep_change"
    op.create_table(
        table,
        sa.Column("id", _KEY, sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("workflow", _NAME, nullable=False),
        sa.Column("instance_id", _NAME, nullable=False),
        sa.Column("run_number", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step_key", _NAME),
        sa.Column("attempt", sa.Integer()),
        sa.Column("event_type", _NAME),
        sa.Column("duration_ms", sa.BigInteger()),
        sa.Column("pub_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_keepstep_change"),
    )
    waiting, published = sa.text("pub_seq IS NULL"), sa.text("pub_seq IS NOT NULL")
    op.create_index("uq_keepstep_change_name", table, ["run_id", "version", "seq", "kind"], unique=True)
    op.create_index(
        "ix_keepstep_change_unpublished", table, ["id"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_index(
        "uq_keepstep_change_pub_seq",
        table,
        ["pub_seq"],
        unique=True,
        sqlite_where=published,
        postgresql_where=published,
    )
