"""The claim on PostgreSQL: one statement, one round trip, one transaction (B2). ``claims.py`` says what it has to do.

For each priority the text goes by workflow, in the order of their turns: whose oldest task is due takes part, the room
is shared out, and each share is one contiguous range of the index. Locked tasks are passed over: another runner has
them in hand at this moment.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, bindparam, text

from keepstep.model.status import Priority, Status
from keepstep.store.statement import DATABASE_CLOCK, Statement, ids, names
from keepstep.store.tables import run, runner, task


def _tasks(priority: int, of: str) -> str:
    return f"""FROM {task} WHERE owner IS NULL AND run_at IS NOT NULL AND priority = {priority}
      AND workflow = {of}.workflow AND run_at >= {of}.since"""


def _turns(name: str) -> str:
    return f"unnest(:workflows, :{name}_since) WITH ORDINALITY AS turn (workflow, since, place)"


def _shared_out(name: str, priority: int, room: str) -> str:
    """Expressions ``<name>_share``, ``<name>`` (the tasks), ``<name>_filled`` (a row for each share that was used up).

    The oldest task is a scalar, so that no planner turns it into a join that reads all that are due.
    """
    return f"""{name}_share AS MATERIALIZED (
  SELECT workflow, since, room / sharing + CASE WHEN place <= room % sharing THEN 1 ELSE 0 END AS share FROM (
    SELECT turn.workflow, turn.since, row_number() OVER (ORDER BY turn.place) AS place, count(*) OVER () AS sharing,
      {room} AS room
    FROM {_turns(name)}
    WHERE (SELECT run_at {_tasks(priority, "turn")} ORDER BY run_at LIMIT 1) <= (SELECT now FROM clock)
  ) AS due
),
{name} AS MATERIALIZED (
  SELECT head.run_id, mine.workflow, mine.share FROM {name}_share AS mine CROSS JOIN LATERAL (
    SELECT run_id {_tasks(priority, "mine")} AND run_at <= (SELECT now FROM clock) AND EXISTS (SELECT FROM lease)
    ORDER BY run_at LIMIT mine.share FOR UPDATE SKIP LOCKED
  ) AS head
),
{name}_filled AS MATERIALIZED (SELECT 1 FROM {name} GROUP BY workflow, share HAVING count(*) = share)"""  # noqa: S608  # built from constants


_SINCE = ids("resuming_since"), ids("fresh_since")
_REST = (
    "(SELECT CASE WHEN EXISTS (SELECT FROM resuming_filled) THEN 0 ELSE :limit - count(*) END FROM resuming)"
)
_STARTS = f"found.status <> '{Status.ACTIVE}' OR found.started_at IS NULL"
_STARTED = {
    "status": f"'{Status.ACTIVE}'",
    "started_at": "coalesce(found.started_at, clock.now)",
    "updated_at": f"CASE WHEN {_STARTS} THEN clock.now ELSE found.updated_at END",
    "version": f"found.version + CASE WHEN {_STARTS} THEN 1 ELSE 0 END",
}
_OF_TASK = {each.name: f"task_{each.name}" for each in task.columns}
_TASK_COLUMNS = ", ".join(f"taken.{name} AS {other}" for name, other in _OF_TASK.items())
_RUN_COLUMNS = ", ".join(_STARTED.get(each.name, f"found.{each.name}") for each in run.columns)
CLAIM = Statement(
    text(f"""WITH
clock AS MATERIALIZED (SELECT coalesce(:now, {DATABASE_CLOCK["postgresql"]}) AS now),
lease AS MATERIALIZED (SELECT id FROM {runner} WHERE id = :runner AND epoch = :epoch FOR KEY SHARE),
{_shared_out("resuming", Priority.RESUME, ":limit")},
{_shared_out("fresh", Priority.NEW, _REST)},
taken AS (
  UPDATE {task} AS task SET owner = :runner, fence = task.fence + 1
  WHERE run_id = ANY (ARRAY(SELECT run_id FROM resuming UNION ALL SELECT run_id FROM fresh)) RETURNING task.*
),
found AS MATERIALIZED (
  SELECT {_TASK_COLUMNS}, run.* FROM taken JOIN {run} AS run ON run.id = taken.run_id FOR NO KEY UPDATE OF run
),
started AS (
  UPDATE {run} AS run SET status = '{Status.ACTIVE}', version = run.version + 1, updated_at = clock.now,
    started_at = coalesce(run.started_at, clock.now)
  FROM clock WHERE run.id = ANY (ARRAY(SELECT found.id FROM found WHERE {_STARTS}))
)
SELECT clock.now, EXISTS (SELECT FROM resuming_filled) OR EXISTS (SELECT FROM fresh_filled),
  {", ".join(_OF_TASK.values())}, {_RUN_COLUMNS}
FROM clock LEFT JOIN found ON true""").bindparams(  # noqa: S608  # likewise
        bindparam("now", type_=BigInteger(), required=False),
        bindparam("runner", type_=BigInteger()),
        bindparam("epoch", type_=Integer()),
        bindparam("limit", type_=BigInteger()),
        names("workflows"),
        *_SINCE,
    ),
    "claim",
)
"""The whole claim on PostgreSQL. ``found`` locks, so that it reads each run as it is now, not as the snapshot saw it."""

NEXT_DUE_SINCE = Statement(
    text(f"""SELECT coalesce(:now, {DATABASE_CLOCK["postgresql"]}),
  (SELECT min((SELECT run_at {_tasks(Priority.RESUME, "turn")} ORDER BY run_at LIMIT 1)) FROM {_turns("resuming")}),
  (SELECT min((SELECT run_at {_tasks(Priority.NEW, "turn")} ORDER BY run_at LIMIT 1)) FROM {_turns("fresh")})""").bindparams(  # noqa: S608  # likewise
        bindparam("now", type_=BigInteger(), required=False), names("workflows"), *_SINCE
    ),
    "next due since",
)
"""``claims.NEXT_DUE`` from each workflow's mark on, without leases: the index of owners is as full of dead entries."""
