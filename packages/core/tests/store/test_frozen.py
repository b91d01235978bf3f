"""Processes that freeze in the middle of a transaction (defect 9): PostgreSQL ends it, so that their runs can be rescued."""

import pytest
from sqlalchemy import create_engine, text

from keepstep.model.plan import Boundary, Hold, Park
from keepstep.store.boundaries import commit_leased, commit_optimistic
from keepstep.store.host import run_sync
from keepstep.store.postgres import PostgresStore
from keepstep.store.script import Call
from keepstep.store.statement import IDLE_MAX, Statement
from keepstep.store.tables import metadata
from tests.support.rows import NOW, RUN_ID, RUNNER_ID

ASK = text("SELECT current_setting('idle_in_transaction_session_timeout')")
GUARD = {"fence": 4, "wake_seq": 9, "version": 5, "at": NOW}


@pytest.mark.parametrize(
    "script",
    [
        lambda: commit_leased("postgresql", RUNNER_ID, 1, Boundary(RUN_ID, **GUARD, end=Hold())),
        lambda: commit_optimistic("postgresql", Boundary(RUN_ID, **GUARD, end=Park(None))),
    ],
    ids=["leased", "optimistic"],
)
def test_a_hosts_transaction_may_not_stand_still_with_our_locks(postgres_database, script):
    """B2, B3, C8: whatever the host set, the server soon ends a transaction that a frozen process left open."""
    engine = create_engine(postgres_database.replace("postgresql:", "postgresql+psycopg:"))
    metadata.create_all(engine)
    with engine.connect() as host:
        host.exec_driver_sql("SET idle_in_transaction_session_timeout = '7min'")
        host.commit()
        run_sync(host, script())
        assert host.execute(ASK).scalar_one() == IDLE_MAX
        host.rollback()
        assert host.execute(ASK).scalar_one() == "7min"
    engine.dispose()


async def test_nor_may_a_transaction_of_our_own(postgres_database):
    """B2, B3: the same holds for claims and rescues."""

    def ask():
        return (yield Call(Statement(ASK, "ask")))

    store = PostgresStore(postgres_database)
    assert await store.transaction("ask", ask()) == [(IDLE_MAX,)]
    await store.close()
