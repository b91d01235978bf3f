"""Transactions: what a store makes of a script, whatever is in it (B1, C5, H)."""

import pytest

from keepstep.errors import IntegrityError, UsageError
from keepstep.model.plan import Creation
from keepstep.store import tables
from keepstep.store.api import Mode
from keepstep.store.claims import renew
from keepstep.store.clock import read_now
from keepstep.store.runs import ADD_RUN, insert_creations, read_instance
from keepstep.store.script import Call, Script
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld

MODES: tuple[Mode, ...] = ("write", "read", "single")


def add_runs(*run_ids: int, fail: Exception | None = None) -> Script[int]:
    """Insert runs one by one, and then perhaps raise."""
    for run_id in run_ids:
        yield Call(ADD_RUN, run_row(id=run_id, instance_id=f"o-{run_id}")._asdict())
    if fail is not None:
        raise fail
    return len(run_ids)


def nothing() -> Script[str]:
    """No call at all."""
    yield from ()
    return "done"


async def run_ids(world: StoreWorld) -> list[int]:
    """What is stored."""
    return [row[0] for row in await world.rows(tables.run)]


class Transactions:
    """What a store makes of a script: all of it or nothing, errors in the words of the engine, one time for all."""

    async def test_a_script_commits_as_a_whole(self, world: StoreWorld) -> None:
        """What it returns comes back once all of it is there (B1)."""
        assert await world.run(add_runs(1, 2)) == 2
        assert await run_ids(world) == [1, 2]

    async def test_a_script_that_raises_writes_nothing(self, world: StoreWorld) -> None:
        """Its error is the caller's, and the next transaction finds a clean connection (B1)."""
        with pytest.raises(UsageError, match="no"):
            await world.run(add_runs(1, fail=UsageError("no")))
        assert await run_ids(world) == []
        await world.run(add_runs(2))
        assert await run_ids(world) == [2]

    async def test_a_constraint_that_refuses_is_an_integrity_error(self, world: StoreWorld) -> None:
        """The driver's error is the cause, never raised raw, and nothing of the script is written (H, C5)."""
        with pytest.raises(IntegrityError) as caught:
            await world.run(add_runs(1, 1))
        assert caught.value.__cause__ is not None
        assert await run_ids(world) == []

    async def test_rows_in_one_call(self, world: StoreWorld) -> None:
        """A list of tuples is one execution for each, in the order of the statement, and gives no rows back."""
        given = [run_row(id=each, instance_id=f"o-{each}") for each in (1, 2, 3)]

        def script() -> Script[int]:
            return len((yield Call(ADD_RUN, given)))

        assert await world.run(script()) == 0
        assert await world.rows(tables.run) == [tuple(each) for each in given]

    @pytest.mark.parametrize("mode", MODES)
    async def test_a_script_without_calls_returns(self, world: StoreWorld, mode: Mode) -> None:
        """There may be nothing to do."""
        assert await world.run(nothing(), mode) == "done"

    async def test_a_script_sees_what_it_wrote(self, world: StoreWorld) -> None:
        """Reads and writes of a script are of one transaction (B1)."""

        def script() -> Script[bool]:
            yield from insert_creations(world.dialect, [Creation(run_row(), task_row())])
            return (yield from read_instance("order", "o-1")) is not None

        assert await world.run(script())

    @pytest.mark.parametrize("mode", MODES)
    async def test_time_is_the_clocks(self, world: StoreWorld, mode: Mode) -> None:
        """Statements that ask for database time are given the clock's, in every mode (B5)."""
        assert await world.run(read_now(), mode) == NOW
        world.clock.now += 5
        assert await world.run(read_now(), mode) == NOW + 5

    async def test_a_single_script_is_durable_when_it_returns(self, world: StoreWorld) -> None:
        """One call that is its own transaction (B1)."""
        await world.runner()
        assert await world.run(renew(RUNNER_ID, 1, 70_000), "single") == NOW + 70_000
        assert (await world.rows(tables.runner))[0][2] == NOW + 70_000

    async def test_texts_and_numbers_are_stored_as_they_are(self, world: StoreWorld) -> None:
        """Any text that JSON can hold, and integers of 64 bits (C3)."""
        params = '{"text":"\u00e9\u4e16\U0001f600 \\u0000 \'\\"","n":9007199254740993}'
        run = run_row(id=2**62, params=params, created_at=2**53 + 1)
        await world.add(run, task_row(run_id=2**62))
        assert await world.row(2**62) == run

    async def test_opening_twice_is_opening_once(self, world: StoreWorld) -> None:
        """``open`` is idempotent, and so is ``close``; a closed store opens again."""
        await world.store.open()
        await world.run(add_runs(RUN_ID))
        await world.store.close()
        await world.store.close()
        await world.store.open()
        assert await run_ids(world) == [RUN_ID]

    async def test_at_rest_a_store_is_not_busy(self, world: StoreWorld) -> None:
        """``busy`` makes the committer gather: a store that stays busy would hold back a lone commit."""
        await world.run(add_runs(1))
        assert not world.store.busy

    async def test_hints_are_accepted_at_any_time(self, world: StoreWorld) -> None:
        """A hint is no promise; giving one raises nothing, and scripts go on beside a listener (B6)."""
        await world.store.listen(lambda: None)
        world.store.hint()
        await world.run(add_runs(1))
        assert await run_ids(world) == [1]
