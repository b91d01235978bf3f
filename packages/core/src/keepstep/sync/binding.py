# Made from client/binding.py by tests/sync/test_faces.py: change that file.
# ruff: noqa: A002  # `id` is what callers say
"""A workflow in an app, for sync hosts: typed by the workflow's params and result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, overload

from keepstep.authoring.step import UNSET
from keepstep.client.listed import Listed
from keepstep.client.verbs import LIVE_NO_MORE, BatchItem, BindingVerbs, IfExists
from keepstep.model.outcome import Page
from keepstep.model.status import Status
from keepstep.sync.instance import SyncInstance
from keepstep.sync.ports import SyncPort

P = TypeVar("P")
R = TypeVar("R")


class SyncBinding(Generic[P, R]):
    """A workflow of this app: begins its instances and finds them.

    Attributes:
        name: the workflow's name.
    """

    def __init__(self, port: SyncPort, verbs: BindingVerbs[P, R]) -> None:
        self._port = port
        self._verbs = verbs
        self.name = verbs.definition.name

    def __repr__(self) -> str:
        return f"<SyncBinding {self.name}>"

    def instance(self, id: str) -> SyncInstance[R]:
        """Give the handle of an instance, without asking whether it exists.

        Raises:
            InvalidInstanceIdError: the id breaks C10.
        """
        return SyncInstance(self._port, self._verbs.at(id))

    @overload
    def create(
        self: SyncBinding[None, R],
        id: str | None = None,
        params: None = None,
        *,
        if_exists: IfExists = "error",
    ) -> SyncInstance[R]: ...
    @overload
    def create(
        self, id: str | None = None, *, params: P, if_exists: IfExists = "error"
    ) -> SyncInstance[R]: ...
    @overload
    def create(self, id: str | None, params: P, *, if_exists: IfExists = "error") -> SyncInstance[R]: ...
    def create(
        self, id: str | None = None, params: Any = None, *, if_exists: IfExists = "error"
    ) -> SyncInstance[R]:
        """Begin an instance (E2).

        Args:
            id: unique per workflow; None = a generated one.
            params: a value of the workflow's params type.
            if_exists: ``"error"``, or ``"return"`` to get the existing instance, whatever its params are.

        Raises:
            InstanceAlreadyExistsError: the id exists, and ``if_exists`` is ``"error"``.
            InvalidInstanceIdError: the id breaks C10.
            WorkflowParamsError: the params do not fit; ``issues`` lists why.
            PayloadTooLargeError: they are larger than the limit.
        """
        created = self._port.create(self._verbs.create(id, params, if_exists))
        return SyncInstance(self._port, self._verbs.known(created[0]))

    def create_batch(self, items: Iterable[BatchItem[P]]) -> tuple[SyncInstance[R], ...]:
        """Begin up to 100 instances; existing and repeated ids are skipped (E2).

        Args:
            items: dicts with ``id`` and ``params``, both as in :meth:`create`.

        Returns:
            The new instances, in order; skipped ones are left out.

        Raises:
            InvalidInputError: too many items, or one that is invalid: nothing was created.
        """
        created = self._port.create(self._verbs.create_batch(items))
        return tuple(SyncInstance(self._port, self._verbs.known(each)) for each in created)

    def get(self, id: str) -> SyncInstance[R]:
        """Give the handle of an instance that exists.

        Raises:
            InstanceNotFoundError: it does not.
            InvalidInstanceIdError: the id breaks C10.
        """
        found = self.instance(id)
        self._port.run(self._verbs.at(id).standing())
        return found

    def list(
        self, *, status: Status | str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Listed[SyncInstance[R]]]:
        """List the instances, newest first.

        Args:
            status: only those of this status.
            limit: how many at most, 1 to 1000.
            cursor: the ``cursor`` of the page before.

        Raises:
            InvalidInputError: no such status, a limit out of range, or a cursor that no listing gave.
        """
        page = self._port.run(self._verbs.list(status, limit, cursor))
        return Page(tuple(Listed(self.instance(each.id), each) for each in page.items), page.cursor)

    def restart_or_create(
        self,
        id: str,
        params: P | Any = UNSET,
        *,
        if_status_in: Sequence[Status | str] = LIVE_NO_MORE,
        if_run: int | None = None,
    ) -> SyncInstance[R]:
        """Begin the instance if there is none, else its next run; decided and done in one transaction (E6).

        Args:
            id: unique per workflow.
            params: of the new run; left out = the same again, or None for a new instance.
            if_status_in: the statuses in which an existing instance is restarted; by default those that have ended.
            if_run: the run number that an existing instance must have.

        Raises:
            InstanceStateError: it is in another status or run: nothing was changed.
        """
        self._port.run(self._verbs.restart_or_create(id, params, if_status_in, if_run))
        return self.instance(id)
