"""Creating instances: what is refused before anything is stored, and what exists already (E2, C10, H)."""

import pytest

from keepstep.authoring.definition import workflow
from keepstep.authoring.events import WorkflowEvent
from keepstep.errors import (
    InstanceAlreadyExistsError,
    InvalidInstanceIdError,
    PayloadTooLargeError,
    SerializationError,
    WorkflowParamsError,
)
from keepstep.model.limits import Limits
from keepstep.services import create
from keepstep.services.listing import list_instances, read_query


@workflow(name="typed")
async def typed(event: WorkflowEvent[int], step):
    """A workflow whose params are a number."""


async def test_a_new_instance_is_due_at_once(world):
    """A created run is active, has run number 1, and its task is due by the database's time (E2, B5)."""
    assert await world.create("o-1", params={"amount": 1}) == {1}
    now = await world.snapshot()
    assert (now.run.status, now.run.run_number, now.run.latest) == ("active", 1, True)
    assert (now.run.created_at, now.task.run_at, now.task.owner) == (world.clock.now, world.clock.now, None)
    assert now.run.params == '{"amount":1}'


async def test_an_existing_instance_is_left_alone(world):
    """The id of a second create is not in the answer, and the first instance stays as it was (E2)."""
    await world.create("o-1", params=1)
    assert await world.create("o-1", "o-2", params=2) == {3}
    assert (await world.snapshot("o-1")).run.params == "1"


async def test_an_existing_id_is_an_error_unless_it_may_exist(world):
    """`create` refuses an id that exists, with what to do; `if_exists="return"` gives it back (E2)."""
    item = create.read_new(world.order, "o-1", None, 5, world.limits)
    with pytest.raises(
        InstanceAlreadyExistsError, match=r"instance 'o-1' exists already.*if_exists=\"return\""
    ):
        create.must_be_new(item)(frozenset())
    assert create.must_be_new(item)(frozenset({5})) == ["o-1"]
    assert create.may_exist(item)(frozenset()) == ["o-1"]


async def test_repeated_ids_of_a_batch_are_created_once(world):
    """The first of a repeated id counts; existing and repeated ids are left out of the answer (E2)."""
    await world.create("b")
    ids = ["a", "b", "a", "c"]
    items = [
        create.read_new(world.order, each, n, world.next_id(), world.limits) for n, each in enumerate(ids)
    ]
    kept = create.without_repeats(items)
    assert [item.instance_id for item in kept] == ["a", "b", "c"]
    written = await world.run(create.create(world.dialect, kept))
    assert create.the_new_ones(kept)(written) == ["a", "c"]
    assert (await world.snapshot("a")).run.params == "0"


@pytest.mark.parametrize("bad", ["", "-x", "a b", "a/b", "é", "x" * 101, 7, "a\n"])
def test_bad_ids_are_refused(bad):
    """Instance ids keep the pattern and length of C10."""
    with pytest.raises(InvalidInstanceIdError):
        create.read_new(typed, bad, 1, 1, Limits())


def test_params_that_do_not_fit_are_refused_with_issues():
    """Params are validated against the annotation; the issues say where (E2, H)."""
    with pytest.raises(WorkflowParamsError, match="params of workflow 'typed'") as caught:
        create.read_params(typed, "many", Limits())
    assert caught.value.issues[0]["type"] == "int_parsing"


def test_params_that_cannot_be_stored_are_refused(definition):
    """What JSON cannot hold is refused with its path (C3)."""
    with pytest.raises(SerializationError) as caught:
        create.read_params(definition, {"a": [float("nan")]}, Limits())
    assert caught.value.path == "$.a[0]"


def test_params_over_the_limit_are_refused(definition):
    """1 MiB of UTF-8 is the default limit of params (C10)."""
    create.read_params(definition, "x" * (1024 * 1024 - 2), Limits())
    with pytest.raises(PayloadTooLargeError):
        create.read_params(definition, "é" * (512 * 1024), Limits())


async def test_nothing_is_stored_by_a_refused_create(world):
    """H: a refused value leaves no row."""
    with pytest.raises(InvalidInstanceIdError):
        await world.create("fine", "not fine")
    page = await world.run(list_instances("order", read_query(None, 10, None)), "read")
    assert page.items == ()
