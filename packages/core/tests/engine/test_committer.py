"""The group commit at work: runs that somebody else's transaction has locked, and the groups of others (B1, B3)."""

import asyncio

import asyncpg

from keepstep import App, WorkflowEvent, WorkflowStep, workflow

LOCK = """SELECT 1 FROM keepstep_task AS task JOIN keepstep_run AS run ON run.id = task.run_id
WHERE run.instance_id = 'locked' FOR UPDATE OF task"""


async def test_a_locked_run_holds_up_no_other(postgres_database: str):
    """B3: while a host's transaction has one run's task locked, the runner's other runs commit; then it goes on."""
    go, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def answer(number: int) -> int:
        waiting.release()
        await go.wait()
        return number

    async def body(event: WorkflowEvent[int], step: WorkflowStep) -> int:
        return await step.do("answer", answer, event.payload)

    app = App(postgres_database, workflows={"SHORT": workflow(name="short")(body)})
    async with app.running():
        locked, free = [await app.workflows.SHORT.create(id=name, params=1) for name in ("locked", "free")]
        for _ in range(2):
            await waiting.acquire()
        other = await asyncpg.connect(postgres_database)
        try:
            async with other.transaction():
                await other.execute(LOCK)
                go.set()
                assert await free.result(timeout=4) == 1  # a lock is waited for longer than this
                assert (await locked.status()).status == "active"
            assert await locked.result(timeout=10) == 1
        finally:
            await other.close()
