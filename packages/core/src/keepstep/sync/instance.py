# Made from client/instance.py by tests/sync/test_faces.py: change that file.
# ruff: noqa: A002  # `id` is what callers say
"""The handle of one instance, for sync hosts: typed by its workflow's result."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from keepstep.authoring.events import EventModel
from keepstep.authoring.step import UNSET
from keepstep.client.outcome import result_of
from keepstep.client.verbs import InstanceVerbs, Timeout, timeout_ms
from keepstep.model.outcome import Accepted, History, InstanceDetails, InstanceStatus
from keepstep.sync.ports import SyncPort

R = TypeVar("R")


class SyncInstance(Generic[R]):
    """One instance of a workflow, by id; every verb acts on its newest run.

    Handles are cheap and hold no state: they come from a binding's ``create``, ``get``, ``list`` and ``instance``.
    """

    def __init__(self, port: SyncPort, verbs: InstanceVerbs[R]) -> None:
        self._port = port
        self._verbs = verbs

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._verbs.target.instance_id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._verbs.target.workflow

    def __repr__(self) -> str:
        return f"<SyncInstance {self.workflow}/{self.id}>"

    def status(self) -> InstanceStatus:
        """Read its status, output and error (E1).

        Raises:
            InstanceNotFoundError: there is no such instance; so do all verbs.
        """
        return self._port.run(self._verbs.status())

    def details(self) -> InstanceDetails:
        """Read all that is known of it: what it waits for, who executes it, its times and params (E1)."""
        return self._port.run(self._verbs.details())

    def why(self) -> str:
        """Say in words why it stands where it stands, and what would move it on."""
        return self._port.run(self._verbs.why())

    def history(self, run: int | None = None) -> History:
        """Read a run's steps, events and log lines, complete.

        Args:
            run: the run's number; None = the newest.

        Raises:
            InvalidInputError: it has no such run.
        """
        return self._port.run(self._verbs.history(run))

    def result(self, timeout: Timeout = None) -> R:
        """Wait for its end and return what the body returned.

        Args:
            timeout: seconds as a number, or a duration like ``"5 minutes"``; None = until the end.

        Raises:
            WorkflowFailedError: it errored.
            WorkflowTerminatedError: it was terminated.
            WorkflowCancelledError: it was cancelled.
            ResultTimeoutError: it has not ended in time; it goes on.
        """
        run = self._port.ended(self._verbs.standing(), timeout_ms(timeout))
        return result_of(self._verbs.definition, run)

    def send_event(
        self,
        event: str | EventModel,
        payload: Any = UNSET,
        *,
        id: str | None = None,
        if_waiting: bool = False,
    ) -> Accepted:
        """Send it an event; it is kept until a wait takes it (D4-D7).

        Args:
            event: an event, or the type of one, with its ``payload``.
            payload: checked against the model that the workflow declares for the type.
            id: the sender's id: a repeat with an equal payload changes nothing and says so.
            if_waiting: refuse unless it waits for an event of this type now.

        Raises:
            InstanceTerminalError: it has ended.
            InvalidEventTypeError: the workflow does not declare the type.
            EventPayloadError: the payload does not fit.
            EventIdConflictError: the id came before with another payload.
            InstanceStateError: ``if_waiting``, and it does not wait for the type.
        """
        return self._port.run(self._verbs.send_event(event, payload, id, if_waiting))

    def pause(self) -> None:
        """Pause it: now, or when the step that executes has ended (E3). Timers keep counting."""
        self._port.run(self._verbs.pause())

    def resume(self) -> None:
        """Go on with what fell due meanwhile, or withdraw a pending pause (E4)."""
        self._port.run(self._verbs.resume())

    def cancel(self, reason: str | None = None) -> None:
        """Ask the body to end: its awaits raise ``CancelledError``, its cleanup still runs (E5)."""
        self._port.run(self._verbs.cancel(reason))

    def terminate(self, reason: str | None = None) -> None:
        """End it at once, for good: what executes can commit nothing any more (E5)."""
        self._port.run(self._verbs.terminate(reason))

    def restart(self, params: Any = UNSET, *, from_step: str | None = None) -> None:
        """Begin its next run; the runs before stay readable (E6).

        Args:
            params: of the next run; left out = the same again.
            from_step: a step's key: the next run keeps the results recorded before it.
        """
        self._port.run(self._verbs.restart(params, from_step))

    def retry_failed_step(self) -> None:
        """Try the step again that ended it, in place (E6).

        Raises:
            InstanceStateError: no step ended it.
        """
        self._port.run(self._verbs.retry_failed_step())
