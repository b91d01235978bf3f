"""The tables, once for both dialects. Columns stand in the order of ``model/records.py``; rows map by position.

    run        one run of an instance: status, version, params, outcome. The newest of an instance is ``latest``.
     ├ run_step   what a run did and what it waits for; append-only once ``seq`` is set. The replay reads this.
     ├ event      accepted events, until a wait consumes them, then kept as history.
     ├ task       the scheduling row of a live run: due when, held by whom. Gone when the run has ended.
     └ log        lines of ``step.log``.
    hook       calls of a fragment's hooks that are to be made after a commit, and what became of them (the outbox).
    change     change events that are subscribed, each written with what it tells of; numbered by the publisher.
    change_stream  how far the stream of changes is numbered, and pruned; its lock is what makes numbers dense.
    change_sink    how far each sink of changes has come, and who feeds it.
    runner     who advances runs: one lease (``epoch``, ``locked_until``) for all tasks that it owns.
    migration  which revision of which fragment's schema is in place.

Everything of a run hangs on the run's own 64-bit key, not on the instance, so that a restarted instance's old
events, records and leases cannot touch its new run (E6). ``hook`` rows hang on nothing but themselves: they outlive what wrote
them. While a hook is due or being delivered, ``run_at`` says when to look at it: when it falls due, or when the lease of
its delivery ends. So a delivery that nobody finishes is due again, and no row is needed for who has it.

Choices:
    Instants are integer milliseconds UTC: one meaning in both dialects, compared as numbers.
    No foreign keys. The guard of each boundary joins the task row, which exists only while its run does; a foreign
    key would lock and look up the ``run`` row once more for each step, which is a quarter of a step's cost.
    ``task`` rows are slim and short-lived, payloads live elsewhere: they are what PostgreSQL must vacuum most.
    A step appends one ``run_step`` row and updates none. ``run`` and ``task`` change at claim, park and end only.
    ``run_step`` and ``log`` keep SQLite's rowid: rows of many runs arrive interleaved, so they are appended to full
    pages and only their small keys go into trees. WITHOUT ROWID cost twice as much at 1 KB a row, and 3.4 times the disk.
    ``status`` is in an index of ``run``, so no change of it is heap-only: 13 of the 39 µs that a run's row costs PostgreSQL.
    Without it, or with filters, a page of a rare status reads all runs; a predicate on it costs the same as the column.
    Partial indexes have literal predicates, so that a plan with bound parameters can use them.
    Names and keys sort by code point (collation "C"): cheaper than a locale's rules, and no upgrade moves them.

Statements live beside this file by use: ``boundaries.py``, ``claims.py``, ``runs.py``. None may live here.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
    true,
)
from sqlalchemy.types import TypeEngine

PREFIX = "keepstep_"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_KEY: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")
"""SQLite makes a lone ``INTEGER PRIMARY KEY`` the row's own address; a ``BIGINT`` would need a second tree."""
_NAME: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")

# An updated row finds room on its own page (HOT), and dead rows are cleared before they are many.
_BUSY = {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}

run = Table(
    f"{PREFIX}run",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=False),
    Column("workflow", _NAME, nullable=False),
    Column("instance_id", _NAME, nullable=False),
    Column("run_number", Integer, nullable=False),
    Column("latest", Boolean, nullable=False),
    Column("workflow_version", Integer, nullable=False),
    Column("status", _NAME, nullable=False),
    Column("version", Integer, nullable=False),
    Column("pause_requested", Boolean, nullable=False),
    Column("cancel_reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("updated_at", BigInteger, nullable=False),
    Column("completed_at", BigInteger),
    Column("params", Text),
    Column("output", Text),
    Column("error", Text),
    postgresql_with=_BUSY,
)

IS_LATEST = run.c.latest == true()
"""The predicate of the partial indexes: a query that repeats it can use them."""

Index(
    f"uq_{PREFIX}run_instance",
    run.c.workflow,
    run.c.instance_id,
    unique=True,
    sqlite_where=IS_LATEST,
    postgresql_where=IS_LATEST,
)
Index(f"uq_{PREFIX}run_number", run.c.workflow, run.c.instance_id, run.c.run_number, unique=True)
Index(
    f"ix_{PREFIX}run_listed",
    run.c.workflow,
    run.c.created_at.desc(),
    run.c.id.desc(),
    sqlite_where=IS_LATEST,
    postgresql_where=IS_LATEST,
)
Index(
    f"ix_{PREFIX}run_listed_by_status",
    run.c.workflow,
    run.c.status,
    run.c.created_at.desc(),
    run.c.id.desc(),
    sqlite_where=IS_LATEST,
    postgresql_where=IS_LATEST,
)

run_step = Table(
    f"{PREFIX}run_step",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key", _NAME, primary_key=True),
    Column("seq", Integer),
    Column("status", _NAME, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("at", BigInteger),
    Column("due_at", BigInteger),
    Column("event_type", _NAME),
    Column("result", Text),
    Column("error", Text),
)
Index(f"uq_{PREFIX}run_step_seq", run_step.c.run_id, run_step.c.seq, unique=True)

event = Table(
    f"{PREFIX}event",
    metadata,
    Column("id", _KEY, Identity(), primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("type", _NAME, nullable=False),
    Column("event_id", _NAME),
    Column("payload", Text, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("consumed_by", _NAME),
)

IS_BUFFERED = event.c.consumed_by.is_(None)
IS_CONSUMED = event.c.consumed_by.is_not(None)

Index(
    f"ix_{PREFIX}event_buffered",
    event.c.run_id,
    event.c.id,
    sqlite_where=IS_BUFFERED,
    postgresql_where=IS_BUFFERED,
)
Index(
    f"ix_{PREFIX}event_consumed",  # not one index of all: SQLite would take that one for the buffered, too
    event.c.run_id,
    event.c.id,
    sqlite_where=IS_CONSUMED,
    postgresql_where=IS_CONSUMED,
)
Index(
    f"uq_{PREFIX}event_id",
    event.c.run_id,
    event.c.event_id,
    unique=True,
    sqlite_where=event.c.event_id.is_not(None),
    postgresql_where=event.c.event_id.is_not(None),
)

task = Table(
    f"{PREFIX}task",
    metadata,
    Column("run_id", _KEY, primary_key=True, autoincrement=False),
    Column("workflow", _NAME, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("run_at", BigInteger),
    Column("owner", BigInteger),
    Column("fence", BigInteger, nullable=False),
    Column("wake_seq", Integer, nullable=False),
    Column("takeovers", Integer, nullable=False),
    Column("seen_seq", Integer, nullable=False),
    postgresql_with={**_BUSY, "fillfactor": 50},
)

IS_CLAIMABLE = task.c.owner.is_(None) & task.c.run_at.is_not(None)
IS_OWNED = task.c.owner.is_not(None)

Index(
    f"ix_{PREFIX}task_due",
    task.c.priority,
    task.c.workflow,  # before run_at: each workflow's queue has a head of its own, and unknown ones are never touched
    task.c.run_at,
    sqlite_where=IS_CLAIMABLE,
    postgresql_where=IS_CLAIMABLE,
)
Index(f"ix_{PREFIX}task_owner", task.c.owner, sqlite_where=IS_OWNED, postgresql_where=IS_OWNED)

log = Table(
    f"{PREFIX}log",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("level", _NAME, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text),
    Column("at", BigInteger, nullable=False),
)

hook = Table(
    f"{PREFIX}hook",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=False),
    Column("name", _NAME, nullable=False),
    Column("key", _NAME),
    Column("status", _NAME, nullable=False),
    Column("run_at", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("payload", Text, nullable=False),
    Column("error", Text),
    Column("trace", Text),
    postgresql_with=_BUSY,
)

IS_COLLAPSIBLE = (hook.c.status == literal_column("'pending'")) & hook.c.key.is_not(None)

Index(
    f"ix_{PREFIX}hook_due",
    hook.c.name,
    hook.c.run_at,
    sqlite_where=hook.c.run_at.is_not(None),
    postgresql_where=hook.c.run_at.is_not(None),
)
Index(
    f"uq_{PREFIX}hook_key",
    hook.c.name,
    hook.c.key,
    unique=True,
    sqlite_where=IS_COLLAPSIBLE,
    postgresql_where=IS_COLLAPSIBLE,
)
Index(
    f"ix_{PREFIX}hook_finished",
    hook.c.status,
    hook.c.finished_at,
    sqlite_where=hook.c.finished_at.is_not(None),
    postgresql_where=hook.c.finished_at.is_not(None),
)

change = Table(
    f"{PREFIX}change",
    metadata,
    Column("id", _KEY, Identity(), primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", _NAME, nullable=False),
    Column("workflow", _NAME, nullable=False),
    Column("instance_id", _NAME, nullable=False),
    Column("run_number", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("step_key", _NAME),
    Column("attempt", Integer),
    Column("event_type", _NAME),
    Column("duration_ms", BigInteger),
    Column("pub_seq", BigInteger),
)

IS_UNPUBLISHED = change.c.pub_seq.is_(None)
IS_PUBLISHED = change.c.pub_seq.is_not(None)

Index(
    f"uq_{PREFIX}change_name",
    change.c.run_id,
    change.c.version,
    change.c.seq,
    change.c.kind,
    unique=True,
)
Index(
    f"ix_{PREFIX}change_unpublished",
    change.c.id,
    sqlite_where=IS_UNPUBLISHED,
    postgresql_where=IS_UNPUBLISHED,
)
Index(
    f"uq_{PREFIX}change_pub_seq",
    change.c.pub_seq,
    unique=True,
    sqlite_where=IS_PUBLISHED,
    postgresql_where=IS_PUBLISHED,
)

change_stream = Table(
    f"{PREFIX}change_stream",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("published", BigInteger, nullable=False),
    Column("pruned", BigInteger, nullable=False),
)

change_sink = Table(
    f"{PREFIX}change_sink",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("after", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("run_at", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("error", Text),
)

runner = Table(
    f"{PREFIX}runner",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("locked_until", BigInteger, nullable=False),
    Column("host", _NAME, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
)

migration = Table(
    f"{PREFIX}migration",
    metadata,
    Column("fragment", _NAME, primary_key=True),
    Column("revision", _NAME, nullable=False),
    Column("applied_at", BigInteger, nullable=False),
)
