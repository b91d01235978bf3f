"""What is left of an async session on SQLite whose step was cancelled (C6): no write lock, and nothing that never ends."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from keepstep.store.sessions import Sessions

ADD = "INSERT INTO note VALUES (1) RETURNING id"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a table."""
    made = tmp_path / "a.db"
    with sqlite3.connect(made) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE note (id INTEGER)")
    connection.close()
    return made


async def test_a_statement_that_was_cut_short_keeps_no_lock(path: Path) -> None:
    """Whoever still has its cursor, a traceback for instance, does not keep others from writing (B2, C6)."""
    opened = Sessions(f"sqlite:///{path}")
    kept: list[Any] = []

    async def cut_short(session: AsyncSession) -> None:
        connection = await session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        kept.append(await driver.execute(ADD))  # its row is not fetched
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)  # in the middle of the next statement
        await session.execute(text(ADD))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(opened.run_async(cut_short))
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()
    assert len(kept) == 1
    await opened.close()


async def test_a_loop_that_ends_while_a_cancelled_session_closes_does_end(path: Path) -> None:
    """``asyncio.run`` cancels what is left, the closing of a connection too, and waits for it without limit."""
    opened = Sessions(f"sqlite:///{path}")
    before, loop = asyncio.all_tasks(), asyncio.get_running_loop()
    standing, go_on = asyncio.Event(), threading.Event()

    def stand_still() -> bool:
        loop.call_soon_threadsafe(standing.set)
        return go_on.wait(60)

    async def busy(session: AsyncSession) -> None:
        connection = await session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.create_function("stand_still", 0, stand_still)
        await session.execute(text("SELECT stand_still()"))

    step = asyncio.create_task(opened.run_async(busy))
    await standing.wait()
    step.cancel()
    while asyncio.all_tasks() - before <= {step}:  # noqa: ASYNC110  # until something closes the connection
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    left = [step, *(asyncio.all_tasks() - before - {step})]
    for each in left:
        each.cancel()
    go_on.set()
    _, endless = await asyncio.wait(left, timeout=20)
    assert not endless
    await opened.close()
