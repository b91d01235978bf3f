"""Runs, their steps, events, tasks and logs, and runners; ``keepstep_migration`` itself is there already.

Written out, not taken from ``tables.py``: that describes the newest schema, this one stays what it was.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_BUSY = {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}


def upgrade() -> None:
    """Create the tables and the indexes that serve their queries."""
    _run()
    _run_step()
    _event()
    _task()
    _log()
    _runner()


def _run() -> None:
    table = "keepstep_run"
    op.create_table(
        table,
        sa.Column("id", _KEY, autoincrement=False, nullable=False),
        sa.Column("workflow", _NAME, nullable=False),
        sa.Column("instance_id", _NAME, nullable=False),
        sa.Column("run_number", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("workflow_version", sa.Integer(), nullable=False),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pause_requested", sa.Boolean(), nullable=False),
        sa.Column("cancel_reason", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger()),
        sa.Column("params", sa.Text()),
        sa.Column("output", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_keepstep_run"),
        postgresql_with=_BUSY,
    )
    latest: dict[str, Any] = {
        "sqlite_where": sa.text("latest = 1"),
        "postgresql_where": sa.text("latest = true"),
    }
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    op.create_index("uq_keepstep_run_instance", table, ["workflow", "instance_id"], unique=True, **latest)
    op.create_index("uq_keepstep_run_number", table, ["workflow", "instance_id", "run_number"], unique=True)
    op.create_index("ix_keepstep_run_listed", table, ["workflow", *newest], **latest)
    op.create_index("ix_keepstep_run_listed_by_status", table, ["workflow", "status", *newest], **latest)


def _run_step() -> None:
    table = "keepstep_run_step"
    op.create_table(
        table,
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", _NAME, nullable=False),
        sa.Column("seq", sa.Integer()),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger()),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("event_type", _NAME),
        sa.Column("result", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_keepstep_run_step"),
    )
    op.create_index("uq_keepstep_run_step_seq", table, ["run_id", "seq"], unique=True)


def _event() -> None:
    table = "keepstep_event"
    op.create_table(
        table,
        sa.Column("id", _KEY, sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("type", _NAME, nullable=False),
        sa.Column("event_id", _NAME),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("consumed_by", _NAME),
        sa.PrimaryKeyConstraint("id", name="pk_keepstep_event"),
    )
    buffered, consumed = sa.text("consumed_by IS NULL"), sa.text("consumed_by IS NOT NULL")
    named = sa.text("event_id IS NOT NULL")
    op.create_index(
        "ix_keepstep_event_buffered",
        table,
        ["run_id", "id"],
        sqlite_where=buffered,
        postgresql_where=buffered,
    )
    op.create_index(
        "ix_keepstep_event_consumed",
        table,
        ["run_id", "id"],
        sqlite_where=consumed,
        postgresql_where=consumed,
    )
    op.create_index(
        "uq_keepstep_event_id",
        table,
        ["run_id", "event_id"],
        unique=True,
        sqlite_where=named,
        postgresql_where=named,
    )


def _task() -> None:
    table = "keepstep_task"
    op.create_table(
        table,
        sa.Column("run_id", _KEY, autoincrement=False, nullable=False),
        sa.Column("workflow", _NAME, nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("run_at", sa.BigInteger()),
        sa.Column("owner", sa.BigInteger()),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("wake_seq", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.Column("seen_seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_keepstep_task"),
        postgresql_with={**_BUSY, "fillfactor": 50},
    )
    claimable, owned = sa.text("owner IS NULL AND run_at IS NOT NULL"), sa.text("owner IS NOT NULL")
    op.create_index(
        "ix_keepstep_task_due",
        table,
        ["priority", "workflow", "run_at"],
        sqlite_where=claimable,
        postgresql_where=claimable,
    )
    op.create_index("ix_keepstep_task_owner", table, ["owner"], sqlite_where=owned, postgresql_where=owned)


def _log() -> None:
    op.create_table(
        "keepstep_log",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", _NAME, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.Text()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_keepstep_log"),
    )


def _runner() -> None:
    op.create_table(
        "keepstep_runner",
        sa.Column("id", _KEY, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=False),
        sa.Column("host", _NAME, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keepstep_runner"),
    )
