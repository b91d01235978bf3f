"""Fragments in an app: names, tables and configuration of each mount are its own, and all commit together (G1, G2)."""

import asyncio

import pytest
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from keepstep import App, InstanceNotFoundError, UsageError
from keepstep.errors import WorkflowNotFoundError


def app_with(database_url, *fragments, **options):
    """An app that runs nothing by itself."""
    return App(database_url, fragments=fragments, dispatcher=None, **options)


async def test_a_service_writes_rows_instances_and_hooks_in_one_transaction(
    database_url, library, rows, world
):
    """Called on the app a service has a transaction of its own; what it triggered comes after its commit (G1, F1)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    invoice = await app.billing.services.open_invoice("o-1", total=7)
    assert invoice.total == 7
    assert world.called == [], "the request path never runs hooks (F2)"
    await app.run_until_idle()
    instance = await app.billing.workflows.collect.get("o-1")
    assert await instance.result(timeout=0) == "7 EUR"
    assert instance.workflow == "billing__collect"
    assert rows("billing_invoice") == [("o-1", 7, 1)]
    ((context, payload),) = world.called
    assert payload == invoice
    assert (context.name, context.attempt, context.key) == ("billing__invoice_opened", 1, "o-1")
    await app.stop()


async def test_what_fails_in_a_service_leaves_nothing(database_url, library, rows, world):
    """An error in a later statement takes the instance and the hook back (G1)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    await app.billing.services.open_invoice("o-1")
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await app.billing.services.open_invoice("o-1", total=8)
    await app.run_until_idle()
    assert rows("billing_invoice") == [("o-1", 99, 1)]
    assert len(world.called) == 1
    assert len((await app.hooks.list()).items) == 1
    await app.stop()


async def test_two_mounts_of_one_fragment_share_nothing(database_url, library, rows, world, engine):
    """Each has names, tables, configuration and hooks of its own (G2)."""
    config = library.billing.config_type(currency="CHF")
    app = app_with(database_url, library.billing, library.billing.instance("alps", config=config))
    await app.migrate()
    await app.billing.services.open_invoice("o-1", total=1)
    await app.alps.services.open_invoice("o-1", total=2)
    await app.run_until_idle()
    assert await (await app.billing.workflows.collect.get("o-1")).result(timeout=0) == "1 EUR"
    assert await (await app.alps.workflows.collect.get("o-1")).result(timeout=0) == "2 CHF"
    assert rows("billing_invoice") == [("o-1", 1, 1)]
    assert rows("alps_billing_invoice") == [("o-1", 2, 1)]
    names = sorted(context.name for context, _ in world.called)
    assert names == ["alps__invoice_opened", "billing__invoice_opened"]
    (key,) = inspect(engine).get_foreign_keys("alps_billing_payment")
    assert key["referred_table"] == "alps_billing_invoice"
    assert rows("keepstep_migration")[0][:2] == ("alps", "0001")
    await app.stop()


async def test_a_service_of_another_fragment_joins_the_transaction(database_url, library, rows):
    """The shop's service calls billing's: one transaction, and billing's own configuration and tables (G1)."""
    app = app_with(database_url, library.billing, library.shop)
    await app.migrate()
    assert await app.shop.services.place_order("o-1") == "o-1 in EUR"
    assert rows("billing_invoice") == [("o-1", 5, 0)]
    assert (await app.billing.workflows.collect.get("o-1")).id == "o-1"
    await app.stop()


async def test_the_host_says_which_instance_is_used(database_url, library, rows):
    """Where a fragment is mounted twice, each user is told which one it uses (G2)."""
    alps = library.billing.instance("alps", config=library.billing.config_type(currency="CHF"))
    app = app_with(
        database_url, library.billing, alps, library.shop, library.shop.instance("chalet", uses=[alps])
    )
    await app.migrate()
    assert await app.shop.services.place_order("o-1") == "o-1 in EUR", "the one with the fragment's own name"
    assert await app.chalet.services.place_order("o-2") == "o-2 in CHF"
    assert rows("billing_invoice") == [("o-1", 5, 0)]
    assert rows("alps_billing_invoice") == [("o-2", 5, 0)]
    await app.stop()


async def test_in_a_hosts_sync_transaction(database_url, library, engine, rows, world):
    """Services are plain functions there; they commit and roll back with the host (G1)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    with Session(engine) as session, session.begin():
        assert app.using(session).billing.services.open_invoice("o-1").order_id == "o-1"
    with Session(engine) as session, session.begin() as transaction:
        app.using(session).fragment(library.billing).call(library.open_invoice, "o-2")
        transaction.rollback()
    assert [row[0] for row in rows("billing_invoice")] == ["o-1"]
    with pytest.raises(InstanceNotFoundError):
        await app.billing.workflows.collect.get("o-2")
    await app.run_until_idle()
    assert [payload.order_id for _, payload in world.called] == ["o-1"]
    await app.stop()


async def test_in_a_hosts_async_transaction(database_url, library, rows, world):
    """The same service is awaited there, and works on the host's connection (G1)."""
    url = database_url.replace("postgresql://", "postgresql+asyncpg://").replace(
        "sqlite://", "sqlite+aiosqlite://"
    )
    host = create_async_engine(url)
    app = app_with(database_url, library.billing)
    await app.migrate()
    async with AsyncSession(host) as session, session.begin():
        invoice = await app.using(session).billing.services.open_invoice("o-1")
    async with host.connect() as connection:
        await app.using(connection).fragment(library.billing).call(library.open_invoice, "o-2")
        await connection.rollback()
    assert invoice.order_id == "o-1"
    assert [row[0] for row in rows("billing_invoice")] == ["o-1"]
    await app.run_until_idle()
    assert len(world.called) == 1
    await app.stop()
    await host.dispose()


async def test_sync_hosts_call_services(database_url, library, world):
    """``app.sync`` has the same fragments, with plain functions (G2)."""
    app = app_with(database_url, library.billing)

    def work():
        app.sync.migrate()
        assert app.sync.billing.services.open_invoice("o-1").total == 99
        assert app.sync.fragment(library.billing).call(library.open_invoice, "o-2").total == 99
        app.sync.run_until_idle()
        assert app.sync.billing.workflows.collect.get("o-2").result(timeout=0) == "99 EUR"
        listed = app.sync.hooks.list(status="delivered")
        app.sync.stop()
        return listed

    assert len((await asyncio.to_thread(work)).items) == 2


async def test_writes_of_a_step_commit_with_it(database_url, library, rows, world):
    """Statements, hooks and creations of ``StepContext.tx`` join the boundary, once, whatever was retried (C8)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    created = await app.billing.workflows.collect_buffered.create(
        id="b", params={"order_id": "o-1", "total": 13}
    )
    await app.run_until_idle()
    child = await created.result(timeout=0)
    assert rows("billing_invoice") == [("o-1", 13, 1)]
    assert [payload.total for _, payload in world.called] == [13]
    assert await (await app.billing.workflows.collect.get(child)).result(timeout=0) == "13 EUR"
    await app.stop()


async def test_writes_of_a_step_that_fails_are_dropped(database_url, library, rows, world):
    """Nothing of a failed attempt's ``tx`` is ever seen (C8)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    created = await app.billing.workflows.collect_buffered.create(params={"order_id": "o-1", "total": -1})
    await app.run_until_idle()
    assert (await created.status()).status == "errored"
    assert rows("billing_invoice") == []
    assert world.called == []
    assert (await app.billing.workflows.collect.list()).items == ()
    await app.stop()


async def test_a_creation_of_a_step_that_exists_ends_the_step(database_url, library):
    """An instance that is there already is not begun again, and nothing of the step is written (C8)."""
    app = app_with(database_url, library.billing)
    await app.migrate()
    first = await app.billing.workflows.collect_buffered.create(
        id="b", params={"order_id": "o-1", "total": 1}
    )
    await app.run_until_idle()
    assert (await first.status()).status == "complete"
    await first.restart()
    await app.run_until_idle()
    status = await first.status()
    assert status.status == "errored"
    assert "constraint" in status.error.message
    await app.stop()


async def test_a_running_app_delivers_by_itself(database_url, library, world):
    """With a dispatcher the runner notices a service's commit and delivers its hooks (F1)."""
    async with App(database_url, fragments=[library.billing]).running() as app:
        await app.billing.services.open_invoice("o-1")
        instance = await app.billing.workflows.collect.get("o-1")
        assert await instance.result(timeout=30) == "99 EUR"
        async with asyncio.timeout(30):
            await world.delivered.wait()
    assert (await app.hooks.list(status="delivered")).items[0].attempts == 1
    await app.stop()


async def test_a_subclass_names_its_fragments(database_url, library):
    """The class form mounts what it names, under its own attributes (G2)."""

    class Shop(App):
        billing = library.billing
        swiss = library.billing.instance("alps", config=library.billing.config_type(currency="CHF"))

    app = Shop(database_url, dispatcher=None)
    await app.migrate()
    assert app.billing.config.currency == "EUR"
    assert app.swiss.config.currency == "CHF"
    assert app.swiss.binding(library.collect).name == "alps__collect"
    await app.stop()


async def test_a_hosts_own_workflows_stand_beside(database_url, library):
    """A fragment's names cannot meet the host's; each registry knows its own (G2)."""
    from keepstep import workflow

    @workflow(name="collect")
    async def collect(event, step):
        return "the host's"

    app = App(database_url, workflows={"COLLECT": collect}, fragments=[library.billing], dispatcher=None)
    await app.migrate()
    instance = await app.workflows.COLLECT.create(id="o-1")
    await app.run_until_idle()
    assert await instance.result(timeout=0) == "the host's"
    with pytest.raises(WorkflowNotFoundError):
        app.binding(library.collect)
    with pytest.raises(AttributeError, match="mounted are billing"):
        app.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="it has open_invoice"):
        app.billing.services.nothing  # noqa: B018
    await app.stop()


async def test_a_fragments_code_says_where_it_is_not(database_url, library):
    """Configuration and services are refused to code that stands in no such fragment (G2)."""
    from keepstep import workflow

    @workflow(name="outside")
    async def outside(event, step):
        with pytest.raises(UsageError, match="outside fragments"):
            library.billing.config(step)
        return await step.transaction("open", library.open_invoice, "o-1")

    app = App(database_url, workflows={"OUTSIDE": outside}, fragments=[library.billing], dispatcher=None)
    await app.migrate()
    instance = await app.workflows.OUTSIDE.create()
    await app.run_until_idle()
    assert "outside fragments" in (await instance.status()).error.message
    await app.stop()
