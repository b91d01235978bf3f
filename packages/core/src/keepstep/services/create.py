"""Creating instances (E2): values are checked before, so that a transaction writes whole batches or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.errors import InstanceAlreadyExistsError
from keepstep.kernel.changes import Wanted, tell_creation
from keepstep.kernel.create import plan_create
from keepstep.model.ids import check_instance_id
from keepstep.model.limits import Limits
from keepstep.model.plan import Creation
from keepstep.services.target import Done, Target
from keepstep.store.clock import read_now
from keepstep.store.runs import insert_creations
from keepstep.store.script import Script
from keepstep.store.statement import DialectName


class NewInstance(NamedTuple):
    """A checked request: ids are given, ``params`` is encoded."""

    workflow: str
    version: int
    instance_id: str
    run_id: int
    params: str
    changes: Wanted = frozenset()
    """What is published of it (F3)."""

    def planned(self, now: int, owner: int | None = None) -> Creation:
        """Plan its first run, due at ``now`` (ms); claimed by the runner ``owner`` in the same commit (eager start)."""
        workflow, version, instance_id, run_id, params, _ = self
        creation = plan_create(workflow, version, instance_id, run_id, params, now, owner)
        return tell_creation(self.changes, creation) if self.changes else creation


def read_params(definition: WorkflowDefinition[Any, Any], params: Any, limits: Limits) -> str:
    """Check params against the workflow's annotation, and encode them.

    Args:
        definition: the workflow.
        params: a value of the annotated type, or data that fits it.
        limits: for the size (C10).

    Raises:
        WorkflowParamsError: they do not fit; ``issues`` lists why.
        SerializationError: they cannot be stored as what they are (C3).
        PayloadTooLargeError: they are larger than the limit.
    """
    return definition.encode_params(params, limits)


def read_new(
    definition: WorkflowDefinition[Any, Any], instance_id: str, params: Any, run_id: int, limits: Limits
) -> NewInstance:
    """Check what a caller wants to create.

    Args:
        definition: the workflow.
        instance_id: unique per workflow.
        params: as for :func:`read_params`.
        run_id: a fresh internal key.
        limits: C10.

    Raises:
        InvalidInstanceIdError: the id breaks C10.
        WorkflowParamsError, SerializationError, PayloadTooLargeError: as :func:`read_params`.
    """
    checked = check_instance_id(instance_id, limits)
    encoded = read_params(definition, params, limits)
    return NewInstance(definition.name, definition.version, checked, run_id, encoded, definition.changes)


def without_repeats(items: Sequence[NewInstance]) -> list[NewInstance]:
    """Keep the first of each instance id (E2)."""
    first: dict[str, NewInstance] = {}
    for item in items:
        first.setdefault(item.instance_id, item)
    return list(first.values())


def create(dialect: DialectName, items: Sequence[NewInstance]) -> Script[Done[frozenset[int]]]:
    """Write the first runs of new instances; existing ones are left alone.

    Returns:
        The run ids that are in place.
    """
    now = yield from read_now()
    written = yield from insert_creations(dialect, [item.planned(now) for item in items])
    return Done(written, tuple(written))


Judge = Callable[[frozenset[int]], list[str]]
"""From the run ids that are in place to the instance ids of the answer."""


def must_be_new(item: NewInstance) -> Judge:
    """Refuse an instance that exists already: ``if_exists="error"`` (E2).

    Raises:
        InstanceAlreadyExistsError: from the judge.
    """

    def judge(written: frozenset[int]) -> list[str]:
        if item.run_id not in written:
            raise InstanceAlreadyExistsError(
                f"{Target(item.workflow, item.instance_id)} exists already: nothing was created; choose another id, "
                'or pass if_exists="return" to get the existing one, or restart_or_create() to begin its next run'
            )
        return [item.instance_id]

    return judge


def may_exist(item: NewInstance) -> Judge:
    """Answer with the instance, new or not: ``if_exists="return"`` (E2)."""
    return lambda _: [item.instance_id]


def the_new_ones(items: Sequence[NewInstance]) -> Judge:
    """Answer with those of a batch that did not exist, in the order of the batch (E2)."""
    return lambda written: [item.instance_id for item in items if item.run_id in written]
