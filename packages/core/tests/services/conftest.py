"""A store with its tables on each database, a clock that the test moves, and a runner's hand to advance runs."""

import itertools

import pytest
from sqlalchemy import create_engine

from keepstep.authoring.definition import workflow
from keepstep.authoring.events import EventModel
from keepstep.model.limits import Limits
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import Boundary, Consumed, Finish, Hold, Park
from keepstep.model.recorded import error_text
from keepstep.model.records import LogRecord, RunnerRecord, StepRecord
from keepstep.model.status import Status, StepStatus
from keepstep.services import create, events, read
from keepstep.services.target import Target
from keepstep.store.boundaries import commit_group
from keepstep.store.claims import claim, register_runner
from keepstep.store.postgres import PostgresStore
from keepstep.store.runs import load_events, read_instance
from keepstep.store.sqlite import SqliteStore
from keepstep.store.tables import metadata

LIMITS = Limits()
RUNNER = 900


class Approval(EventModel, type="approval"):
    """The event that the workflow declares."""

    approved: bool


class Note(EventModel, type="note"):
    """Another declared event."""

    text: str = ""


@workflow(name="order", events=[Approval, Note])
async def order(event, step):
    """Never run here: these tests stand in for its runner."""


class ManualClock:
    """Database time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_ms(self) -> int:
        """What the database takes for now."""
        return self.now


class World:
    """One database, with the verbs that tests need in one line each."""

    def __init__(self, store, clock) -> None:
        self.store = store
        self.clock = clock
        self.dialect = store.dialect
        self.order = order
        self.limits = LIMITS
        self._ids = itertools.count(1)
        self._ready = False

    def next_id(self) -> int:
        """A fresh run id."""
        return next(self._ids)

    async def run(self, script, mode="write"):
        """Run a script, and give what it answers."""
        done = await self.store.transaction("test", script, mode)
        return getattr(done, "answer", done)

    async def create(self, *instance_ids, params=None):
        """Create instances of ``order``; their run ids."""
        items = [create.read_new(order, each, params, self.next_id(), LIMITS) for each in instance_ids]
        return await self.run(create.create(self.dialect, items))

    async def snapshot(self, instance_id="o-1"):
        """The newest run and its task."""
        found = await self.store.transaction("test", read_instance("order", instance_id), "read")
        assert found is not None
        return found

    async def details(self, instance_id="o-1"):
        """What a caller would read."""
        return await self.run(read.details(self.dialect, Target("order", instance_id)), "read")

    async def send(self, event, payload, *, event_id=None, if_waiting=False, instance_id="o-1"):
        """Send an event."""
        new = events.read_event(order, event, payload, event_id, LIMITS)
        script = events.send_event(self.dialect, Target("order", instance_id), new, if_waiting=if_waiting)
        return await self.run(script)

    # --- a runner's hand

    async def claim(self):
        """Claim everything that is due; the claims by instance id."""
        if not self._ready:
            record = RunnerRecord(RUNNER, 1, 0, "host", 12, self.clock.now)
            await self.run(register_runner(record, 30_000))
            self._ready = True
        claims = await self.run(claim(self.dialect, RUNNER, 1, 100, ["order"]))
        return {each.run.instance_id: each for each in claims.claimed}

    async def commit(self, claimed, end, steps=(), logs=(), consumed=()):
        """Commit a boundary of a claimed run; whether it was kept."""
        boundary = Boundary(
            claimed.run.id,
            claimed.task.fence,
            None if isinstance(end, Hold) else claimed.task.wake_seq,
            claimed.run.version,
            self.clock.now,
            steps=tuple(steps),
            logs=tuple(logs),
            consumed=tuple(consumed),
            end=end,
        )
        result = await self.store.transaction(
            "test", commit_group(self.dialect, RUNNER, 1, [boundary], []), "single"
        )
        return claimed.run.id in result.kept

    async def wait_for(self, event_type, instance_id="o-1", due_at=None):
        """Have the instance wait for an event."""
        claimed = (await self.claim())[instance_id]
        row = Rows.step(claimed.run.id, f"wait:{event_type}", None, StepStatus.WAITING)
        row = row._replace(event_type=event_type, due_at=due_at, started_at=self.clock.now, attempt=0)
        assert await self.commit(claimed, Park(due_at), [row])

    async def finish(self, instance_id="o-1", output='"done"'):
        """Have the instance complete."""
        claimed = (await self.claim())[instance_id]
        assert await self.commit(claimed, Finish(Status.COMPLETE, output, None))

    async def fail(self, key="do:b", instance_id="o-1"):
        """Have the instance end by a failed step, after one that went well."""
        claimed = (await self.claim())[instance_id]
        error = error_text(ErrorInfo("ValueError", "no", None, key, 6))
        rows = [
            Rows.step(claimed.run.id, "do:a", 1),
            Rows.step(claimed.run.id, key, 2, StepStatus.FAILED)._replace(
                result=None, error=error, attempt=6
            ),
        ]
        assert await self.commit(claimed, Finish(Status.ERRORED, None, error), rows)

    async def consume(self, claimed, key, end):
        """Have a wait take the oldest buffered event."""
        buffered = (await self.run(load_events(self.dialect, [claimed.run.id])))[claimed.run.id]
        return await self.commit(claimed, end, consumed=[Consumed(buffered[0].id, key)])


class Rows:
    """Rows of a run's records."""

    @staticmethod
    def step(run_id, key, seq, status=StepStatus.COMPLETED):
        """A step."""
        at = None if seq is None else 500
        return StepRecord(run_id, key, seq, status.value, 1, 500, at, None, None, "1", None)

    @staticmethod
    def log_line(run_id, number):
        """A log line."""
        return LogRecord(run_id, number, "info", f"line {number}", '{"n":1}', 600)


@pytest.fixture
def definition():
    """The workflow of these tests; it declares `approval` and `note`."""
    return order


@pytest.fixture
def rows():
    """Makes rows of a run's records."""
    return Rows


@pytest.fixture
async def world(database_url):
    """A fresh database with tables, on SQLite and on PostgreSQL."""
    clock = ManualClock()
    driver_url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(driver_url)
    metadata.create_all(engine)
    engine.dispose()
    if database_url.startswith("sqlite"):
        store = SqliteStore(database_url, clock=clock)
    else:
        store = PostgresStore(database_url, clock=clock)
    await store.open()
    yield World(store, clock)
    await store.close()
