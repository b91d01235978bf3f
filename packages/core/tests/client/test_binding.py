"""Bindings: beginning instances, finding them, and everything a caller can get wrong (E2, E6, H)."""

import re

import pytest

from keepstep import (
    App,
    Bindings,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    Status,
    UsageError,
    WorkflowNotFoundError,
    workflow,
)
from keepstep.errors import (
    InstanceStateError,
    InvalidInputError,
    InvalidInstanceIdError,
    PayloadTooLargeError,
    WorkflowParamsError,
)
from keepstep.model.limits import Limits


async def ids(binding, **options):
    """The ids of a page."""
    return [item.id for item in (await binding.list(**options)).items]


async def test_an_id_is_made_when_none_is_given(app):
    """A generated id keeps C10 and can be said aloud; two are different (E2)."""
    first, second = await app.workflows.NOTHING.create(), await app.workflows.NOTHING.create()
    assert re.fullmatch(r"[0-9a-z]{4}(-[0-9a-z]{4}){4}", first.id)
    assert first.id != second.id
    assert (await first.details()).workflow == "nothing"


async def test_create_gives_the_handle_of_an_active_instance(app, lamp):
    """The instance is stored with its params when `create` returns (E2)."""
    instance = await app.workflows.ORDER.create(id="o-1", params=lamp)
    assert (instance.id, instance.workflow, repr(instance)) == ("o-1", "order", "<Instance order/o-1>")
    details = await instance.details()
    assert (details.status, details.params) == (Status.ACTIVE, {"item": "lamp", "quantity": 3})


async def test_an_existing_id_raises_or_returns_the_existing_instance(app, lamp):
    """`if_exists` decides; the existing instance keeps its own params (E2)."""
    await app.workflows.ORDER.create(id="o-1", params=lamp)
    with pytest.raises(InstanceAlreadyExistsError, match="'order' instance 'o-1' exists already"):
        await app.workflows.ORDER.create(id="o-1", params=lamp)
    other = lamp.model_copy(update={"item": "rug"})
    same = await app.workflows.ORDER.create(id="o-1", params=other, if_exists="return")
    assert (await same.details()).params["item"] == "lamp"


async def test_an_id_is_unique_per_workflow(app, lamp):
    """Another workflow may have the same id (semantics: Instance)."""
    await app.workflows.ORDER.create(id="x", params=lamp)
    await app.workflows.NOTHING.create(id="x")
    assert await ids(app.workflows.ORDER) == ["x"]


async def test_a_bad_if_exists_is_refused(app):
    """H: the message says what there is."""
    with pytest.raises(UsageError, match='"error" or "return"'):
        await app.workflows.NOTHING.create(if_exists="ignore")


@pytest.mark.parametrize(
    ("name", "params", "error"),
    [
        ("bad id", {"item": "lamp"}, InvalidInstanceIdError),
        ("x" * 101, {"item": "lamp"}, InvalidInstanceIdError),
        ("fine", {"quantity": 1}, WorkflowParamsError),
        ("fine", None, WorkflowParamsError),
        ("fine", {"item": "x" * 2_000_000}, PayloadTooLargeError),
    ],
)
async def test_what_is_refused_is_not_stored(app, name, params, error):
    """H: bad ids, params that do not fit, params over the limit leave nothing behind."""
    with pytest.raises(error):
        await app.workflows.ORDER.create(id=name, params=params)
    assert await ids(app.workflows.ORDER) == []


async def test_issues_say_what_does_not_fit(app):
    """A params error lists its issues with their paths (E2, H)."""
    with pytest.raises(WorkflowParamsError) as caught:
        await app.workflows.ORDER.create(params={"item": 7, "quantity": "many"})
    assert [issue["path"] for issue in caught.value.issues] == ["item", "quantity"]
    assert caught.value.code == "WORKFLOW_PARAMS_INVALID"


async def test_a_batch_skips_what_exists_and_what_repeats(app, lamp):
    """Existing and repeated ids are left out of the result (E2)."""
    await app.workflows.ORDER.create(id="b", params=lamp)
    made = await app.workflows.ORDER.create_batch(
        [
            {"id": "a", "params": lamp},
            {"id": "b", "params": lamp},
            {"id": "a", "params": lamp},
            {"params": lamp},
        ]
    )
    assert made[0].id == "a"
    assert len(made) == 2
    assert len(await ids(app.workflows.ORDER)) == 3


async def test_one_invalid_item_refuses_the_batch(app, lamp):
    """Nothing is written, and the message names the item (E2)."""
    with pytest.raises(
        WorkflowParamsError, match=r"item 1 of the batch, nothing was created: .*item"
    ) as caught:
        await app.workflows.ORDER.create_batch([{"id": "a", "params": lamp}, {"id": "b", "params": {}}])
    assert caught.value.issues
    assert await ids(app.workflows.ORDER) == []


async def test_a_batch_has_a_hundred_items_at_most(app):
    """E2: 100 go, 101 do not."""
    hundred = [{"id": f"n-{n}"} for n in range(100)]
    with pytest.raises(InvalidInputError, match="101 items, at most 100"):
        await app.workflows.NOTHING.create_batch([*hundred, {"id": "one-more"}])
    assert len(await app.workflows.NOTHING.create_batch(hundred)) == 100
    assert await app.workflows.NOTHING.create_batch([]) == ()


@pytest.mark.parametrize(
    ("item", "said"), [({"name": "a"}, "unknown keys name; known are id, params"), ("a", "must be a dict")]
)
async def test_items_of_another_shape_are_refused(app, item, said):
    """H: the message shows the shape."""
    with pytest.raises(UsageError, match=said):
        await app.workflows.NOTHING.create_batch([item])


async def test_get_finds_what_exists(app):
    """A missing instance is an error with what to do; a bad id another (H)."""
    await app.workflows.NOTHING.create(id="here")
    assert (await app.workflows.NOTHING.get("here")).id == "here"
    with pytest.raises(InstanceNotFoundError, match=r"instance 'gone' does not exist.*create\(\) makes it"):
        await app.workflows.NOTHING.get("gone")
    with pytest.raises(InvalidInstanceIdError):
        await app.workflows.NOTHING.get("not an id")


async def test_a_handle_needs_no_question(app):
    """`instance(id)` asks nothing; its verbs do."""
    handle = app.workflows.NOTHING.instance("gone")
    with pytest.raises(InstanceNotFoundError):
        await handle.status()
    with pytest.raises(InvalidInstanceIdError):
        app.workflows.NOTHING.instance("-")


async def test_list_pages_through_everything_once(app):
    """Pages neither skip nor repeat, equal timestamps or not (defect 15)."""
    await app.workflows.NOTHING.create_batch([{"id": f"n-{n}"} for n in range(7)])
    found, cursor = [], None
    while True:
        page = await app.workflows.NOTHING.list(limit=3, cursor=cursor)
        found += [(item.id, item.status, item.instance.id) for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == [(f"n-{n}", Status.ACTIVE, f"n-{n}") for n in range(7)]


async def test_list_by_status(app):
    """Only instances of that status."""
    await app.workflows.NOTHING.create(id="done")
    await app.run_until_idle()
    await app.workflows.NOTHING.create(id="new")
    assert await ids(app.workflows.NOTHING, status="complete") == ["done"]
    assert await ids(app.workflows.NOTHING, status=Status.ACTIVE) == ["new"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"status": "done"}, "statuses are active"),
        ({"limit": 0}, "limit must be"),
        ({"cursor": "garbage"}, "page.cursor"),
    ],
)
async def test_bad_requests_are_refused(app, option, said):
    """H: statuses, limits and cursors are checked."""
    with pytest.raises(InvalidInputError, match=said):
        await app.workflows.NOTHING.list(**option)


async def test_restart_or_create(app, lamp):
    """Creates what is missing, restarts what has ended, refuses what lives, all in one transaction (E6)."""
    binding = app.workflows.ORDER
    instance = await binding.restart_or_create("o-1", lamp)
    with pytest.raises(InstanceStateError, match="only when cancelled, complete, errored, terminated"):
        await binding.restart_or_create("o-1", lamp)
    assert (await instance.details()).run_number == 1
    await instance.terminate()
    await binding.restart_or_create("o-1")
    details = await instance.details()
    assert (details.run_number, details.params["quantity"]) == (2, 3)
    await binding.restart_or_create("o-1", {"item": "rug"}, if_status_in=["active"], if_run=2)
    assert (await instance.details()).params["item"] == "rug"
    with pytest.raises(WorkflowParamsError):
        await binding.restart_or_create("o-2")
    with pytest.raises(InvalidInputError, match="is no status"):
        await binding.restart_or_create("o-1", lamp, if_status_in=["alive"])


async def test_a_missing_binding_is_an_error_with_the_known_keys(app):
    """Also an AttributeError, so that `hasattr` is right (H)."""
    with pytest.raises(WorkflowNotFoundError, match="'ODER'; known keys are ORDER, NOTHING"):
        _ = app.workflows.ODER
    with pytest.raises(WorkflowNotFoundError, match="known keys"):
        _ = app.workflows["ODER"]
    assert not hasattr(app.workflows, "ODER")
    assert app.workflows["ORDER"].name == "order"


async def test_a_bindings_class_gives_typed_attributes(app, database_url):
    """Class form: attributes are bindings; a missing one is the same error."""
    definition = app.workflows.NOTHING._verbs.definition

    class Workflows(Bindings):
        nothing = definition

    typed = App(database_url, workflows=Workflows, dispatcher=None)
    assert Workflows.nothing is definition
    instance = await typed.workflows.nothing.create(id="n")
    assert (await instance.status()).status is Status.ACTIVE
    with pytest.raises(WorkflowNotFoundError, match="known keys are nothing"):
        _ = typed.workflows.something
    await typed.stop()


async def test_a_workflow_can_be_its_own_key(app):
    """`app.binding(workflow)` is typed by it; one that the app was not given is refused (H)."""
    definition = app.workflows.NOTHING._verbs.definition
    assert app.binding(definition).name == "nothing"

    @workflow(name="nothing")
    async def another(event, step):
        """Another workflow of that name."""

    @workflow(name="unknown")
    async def unknown(event, step):
        """Registered nowhere."""

    with pytest.raises(WorkflowNotFoundError, match="another workflow is registered"):
        app.binding(another)
    with pytest.raises(WorkflowNotFoundError, match="known names are nothing, order"):
        app.binding(unknown)


async def test_limits_of_the_app_hold(database_url):
    """Limits are the app's own (C10)."""

    @workflow(name="small")
    async def small(event, step):
        """Takes little."""

    app = App(
        database_url,
        workflows={"SMALL": small},
        dispatcher=None,
        limits=Limits(payload_bytes_max=10, batch_max=1, instance_id_max=3),
    )
    with pytest.raises(PayloadTooLargeError):
        await app.workflows.SMALL.create(id="abc", params="x" * 9)
    with pytest.raises(InvalidInputError, match="at most 1"):
        await app.workflows.SMALL.create_batch([{"id": "a"}, {"id": "b"}])
    with pytest.raises(InvalidInstanceIdError):
        await app.workflows.SMALL.create(id="four")
