"""The verbs, written once for every colour and transaction: what is checked before, the script, what follows.

Everything that a caller can get wrong about a value is refused here, before a transaction begins (H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.events import EventModel
from keepstep.authoring.step import UNSET
from keepstep.client.asked import Asked, Verb
from keepstep.client.mint import Mint
from keepstep.errors import InvalidDurationError, InvalidInputError, UsageError
from keepstep.model.codec import JsonText
from keepstep.model.duration import duration_ms
from keepstep.model.ids import check_instance_id
from keepstep.model.outcome import Accepted, History, InstanceDetails, InstanceStatus, Page, Standing
from keepstep.model.status import TERMINAL, Status
from keepstep.services import create, events, listing, pages, read, steer
from keepstep.services.create import Judge, NewInstance
from keepstep.services.pages import HistoryPage, HistoryQuery
from keepstep.services.target import Done, Target
from keepstep.store.script import Script
from keepstep.store.statement import DialectName

_NOTHING: Mapping[str, Any] = {}

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

IfExists = Literal["error", "return"]
Timeout = float | timedelta | str | None
"""How long ``result()`` waits: seconds as a number, or a duration; None = until the end."""


class BatchItem(TypedDict, Generic[P]):
    """One item of ``create_batch``."""

    id: NotRequired[str]
    params: NotRequired[P]


@dataclass(frozen=True, slots=True)
class Transact(Generic[T]):
    """A verb that is one script in one transaction; ``mode`` says whether it writes.

    ``asked`` is the same as values; None where only who reaches the database can do it.
    """

    label: str
    mode: Literal["read", "write"]
    script: Callable[[DialectName], Script[Done[T]]]
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """A verb that begins instances: ``judge`` turns the run ids that are in place into the answer.

    ``ask`` makes the same as values, for a port that asks somebody else.
    """

    items: Sequence[NewInstance]
    judge: Judge
    ask: Callable[[], Asked]

    @property
    def asked(self) -> Asked:
        """The verb as values."""
        return self.ask()

    def script(self, dialect: DialectName) -> Script[Done[frozenset[int]]]:
        """Write them in a transaction that is given."""
        return create.create(dialect, self.items)


class BindingVerbs(Generic[P, R]):
    """What can be asked of a workflow's instances as a whole."""

    def __init__(self, definition: WorkflowDefinition[P, R], mint: Mint) -> None:
        self.definition = definition
        self._mint = mint

    def at(self, instance_id: str) -> InstanceVerbs[R]:
        """Give the verbs of one instance."""
        return self.known(check_instance_id(instance_id, self._mint.limits))

    def known(self, instance_id: str) -> InstanceVerbs[R]:
        """Give the verbs of an instance that an answer named: its id needs no check."""
        return InstanceVerbs(self.definition, instance_id, self._mint)

    def create(self, instance_id: str | None, params: Any, if_exists: IfExists) -> Create:
        """Begin one instance (E2)."""
        if if_exists not in {"error", "return"}:
            raise UsageError(f'if_exists must be "error" or "return", not {if_exists!r}')
        item = self._new(instance_id, params)
        judge = create.must_be_new(item) if if_exists == "error" else create.may_exist(item)

        def ask() -> Asked:
            # An id that was made here is nobody else's: where it exists already, this very call has made it.
            safe = instance_id is None or if_exists == "return"
            return self._asked(Verb.CREATE, {**_as_asked(item), "if_exists": if_exists}, safe=safe)

        return Create([item], judge, ask)

    def create_batch(self, items: Iterable[Mapping[str, Any]]) -> Create:
        """Begin up to 100 instances (E2)."""
        given = list(items)
        most = self._mint.limits.batch_max
        if len(given) > most:
            raise InvalidInputError(
                f"a batch has {len(given)} items, at most {most} are allowed; send several batches"
            )
        new = create.without_repeats([self._item(place, item) for place, item in enumerate(given)])

        def ask() -> Asked:
            return self._asked(Verb.CREATE_BATCH, {"instances": [_as_asked(item) for item in new]})

        return Create(new, create.the_new_ones(new), ask)

    def restart_or_create(
        self, instance_id: str, params: Any, if_status_in: Iterable[Status | str], if_run: int | None
    ) -> Transact[None]:
        """Begin the instance, or its next run, in one transaction (E6)."""
        statuses = [listing.read_status(each) for each in if_status_in]
        target = self.at(instance_id).target
        run_id, limits = self._mint.run_id(), self._mint.limits
        encoded = None if params is UNSET else create.read_params(self.definition, params, limits)

        def first() -> NewInstance:
            given = create.read_params(self.definition, None, limits) if encoded is None else encoded
            of = self.definition
            return NewInstance(of.name, of.version, instance_id, run_id, given, of.changes)

        return Transact(
            "restart or create",
            "write",
            lambda dialect: steer.restart_or_create(
                dialect,
                target,
                run_id,
                params=encoded,
                first=first,
                if_status_in=statuses,
                if_run=if_run,
                wanted=self.definition.changes,
            ),
            Asked(
                Verb.RESTART_OR_CREATE,
                target.workflow,
                target.instance_id,
                _without_unset(params=_text(encoded), if_status_in=statuses, if_run=if_run),
            ),
        )

    def list(
        self, status: Status | str | None, limit: int, cursor: str | None
    ) -> Transact[Page[InstanceDetails]]:
        """Read a page of instances."""
        query = listing.read_query(status, limit, cursor)
        asked = self._asked(
            Verb.LIST, {"status": query.status, "page_size": limit, "cursor": cursor}, safe=True
        )
        return Transact("list", "read", lambda _: listing.list_instances(self.definition.name, query), asked)

    def _asked(self, verb: Verb, given: Mapping[str, Any], *, safe: bool = False) -> Asked:
        return Asked(verb, self.definition.name, None, given, safe)

    def _new(self, instance_id: str | None, params: Any) -> NewInstance:
        wanted = self._mint.instance_id() if instance_id is None else instance_id
        return create.read_new(self.definition, wanted, params, self._mint.run_id(), self._mint.limits)

    def _item(self, place: int, item: Mapping[str, Any]) -> NewInstance:
        if not isinstance(item, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f'item {place} of the batch must be a dict like {{"id": …, "params": …}}, not {item!r}'
            )
        if unknown := sorted(set(item) - {"id", "params"}):
            raise UsageError(
                f"item {place} of the batch has unknown keys {', '.join(unknown)}; known are id, params"
            )
        try:
            return self._new(item.get("id"), item.get("params"))
        except InvalidInputError as error:
            error.args = (f"item {place} of the batch, nothing was created: {error}", *error.args[1:])
            raise


class InstanceVerbs(Generic[R]):
    """What can be asked of one instance."""

    def __init__(self, definition: WorkflowDefinition[Any, R], instance_id: str, mint: Mint) -> None:
        self.target = Target(definition.name, instance_id)
        self.definition = definition
        self._mint = mint

    def standing(self) -> Transact[Standing]:
        """Read how the newest run stands."""
        return self._read(Verb.STANDING, lambda _: read.standing(self.target))

    def status(self) -> Transact[InstanceStatus]:
        """Read the status in short."""
        return self._read(Verb.STATUS, lambda _: read.status(self.target))

    def details(self) -> Transact[InstanceDetails]:
        """Read all that is known."""
        return self._read(Verb.DETAILS, lambda dialect: read.details(dialect, self.target))

    def why(self) -> Transact[str]:
        """Say in words why it stands where it stands."""
        return self._read(Verb.WHY, lambda dialect: read.why(dialect, self.target))

    def described(self) -> Transact[tuple[InstanceDetails, str]]:
        """Read all that is known, as values and in words."""
        return Transact("described", "read", lambda dialect: read.described(dialect, self.target))

    def history(self, run: int | None) -> Transact[History]:
        """Read a run's whole history."""
        return self._read(Verb.HISTORY, lambda _: read.history(self.target, run), run=run)

    def history_page(self, query: HistoryQuery) -> Transact[HistoryPage]:
        """Read a page of a run's history."""
        return Transact("history page", "read", lambda _: pages.read_page(self.target, query))

    def send_event(
        self, event: str | EventModel, payload: Any, event_id: str | None, if_waiting: bool
    ) -> Transact[Accepted]:
        """Send an event (D4-D7)."""
        new = events.read_event(self.definition, event, payload, event_id, self._mint.limits)
        given = {"type": new.type, "payload": JsonText(new.payload), "if_waiting": if_waiting}
        return self._write(
            Verb.SEND_EVENT,
            lambda dialect: events.send_event(dialect, self.target, new, if_waiting=if_waiting),
            given if new.id is None else {**given, "id": new.id},
            safe=new.id is not None,
        )

    def pause(self) -> Transact[None]:
        """Pause (E3)."""
        return self._write(
            Verb.PAUSE, lambda dialect: steer.pause(dialect, self.target, self.definition.changes)
        )

    def resume(self) -> Transact[None]:
        """Resume (E4)."""
        return self._write(
            Verb.RESUME, lambda dialect: steer.resume(dialect, self.target, self.definition.changes)
        )

    def cancel(self, reason: str | None) -> Transact[None]:
        """Ask the body to end (E5)."""
        checked = _reason(reason)
        return self._write(
            Verb.CANCEL,
            lambda dialect: steer.cancel(dialect, self.target, checked, self.definition.changes),
            {"reason": checked},
        )

    def terminate(self, reason: str | None) -> Transact[None]:
        """End at once (E5)."""
        checked = _reason(reason)
        return self._write(
            Verb.TERMINATE,
            lambda dialect: steer.terminate(dialect, self.target, checked, self.definition.changes),
            {"reason": checked},
        )

    def restart(self, params: Any, from_step: str | None) -> Transact[None]:
        """Begin the next run (E6)."""
        if params is not UNSET and from_step is not None:
            raise UsageError(
                "restart() takes params or from_step, not both: kept results belong to the old params"
            )
        limits = self._mint.limits
        encoded = None if params is UNSET else create.read_params(self.definition, params, limits)
        run_id = self._mint.run_id()
        return self._write(
            Verb.RESTART,
            lambda dialect: steer.restart(
                dialect, self.target, run_id, encoded, from_step, wanted=self.definition.changes
            ),
            _without_unset(params=_text(encoded), from_step=UNSET if from_step is None else from_step),
        )

    def retry_failed_step(self) -> Transact[None]:
        """Re-open the failed step (E6)."""
        return self._write(
            Verb.RETRY, lambda dialect: steer.retry_failed_step(dialect, self.target, self.definition.changes)
        )

    def _read(
        self, verb: Verb, script: Callable[[DialectName], Script[Done[T]]], **given: Any
    ) -> Transact[T]:
        return Transact(verb.value, "read", script, Asked(verb, *self.target, given, safe=True))

    def _write(
        self,
        verb: Verb,
        script: Callable[[DialectName], Script[Done[T]]],
        given: Mapping[str, Any] = _NOTHING,
        *,
        safe: bool = False,
    ) -> Transact[T]:
        return Transact(verb.value, "write", script, Asked(verb, *self.target, given, safe))


def _as_asked(item: NewInstance) -> dict[str, Any]:
    return {"id": item.instance_id, "params": JsonText(item.params)}


def _text(encoded: str | None) -> Any:
    return UNSET if encoded is None else JsonText(encoded)


def _without_unset(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not UNSET}


def timeout_ms(timeout: Timeout) -> int | None:
    """Read how long to wait: seconds as a number, or a duration.

    Raises:
        InvalidDurationError: it is neither.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int | float):
        return duration_ms(timeout, "timeout")
    if isinstance(timeout, bool) or not 0 <= timeout < 1e9:
        raise InvalidDurationError(f"timeout must be 0 seconds or more, or a duration, not {timeout!r}")
    return round(timeout * 1000)


LIVE_NO_MORE: tuple[Status, ...] = tuple(sorted(TERMINAL))
"""Statuses in which ``restart_or_create`` begins the next run, unless it is told otherwise."""

_REASON_MAX = 1000


def _reason(reason: object) -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str) or len(reason) > _REASON_MAX:
        raise InvalidInputError(f"a reason is text of at most {_REASON_MAX} characters, not {reason!r:.60}")
    return reason
