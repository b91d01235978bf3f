"""Each verb as the requests that ask it, and its answer as the value that the verb gives in an app. Sends nothing itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ValidationError

from keepstep.client import wire
from keepstep.client.asked import Asked, Verb
from keepstep.client.outcome import not_yet
from keepstep.client.verbs import Create, Transact
from keepstep.errors import RemoteAnswerError, UsageError
from keepstep.http_client.exchange import Exchange, Pause, Send, Talk
from keepstep.model.codec import JsonText
from keepstep.model.outcome import (
    Accepted,
    EventView,
    History,
    InstanceDetails,
    LogView,
    Page,
    Standing,
    StepView,
    TickResult,
)
from keepstep.model.status import TERMINAL, Status

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

HOLD_MS = 15_000
"""How long the server is asked to hold a request for an end."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
"""How often an end is asked for when the server holds no requests."""

_SUFFIX: Mapping[Verb, str] = {
    Verb.PAUSE: "pause",
    Verb.RESUME: "resume",
    Verb.CANCEL: "cancel",
    Verb.TERMINATE: "terminate",
    Verb.RESTART: "restart",
    Verb.RETRY: "retry",
    Verb.RESTART_OR_CREATE: "restart-or-create",
}


class Conversation:
    """Speaks with a server of keepstep's routes.

    Args:
        exchange: carries one request.
        now: monotonic seconds.
        fresh_id: makes the id of an event that was given none, so that it can be sent again.
    """

    def __init__(self, exchange: Exchange, now: Callable[[], float], fresh_id: Callable[[], str]) -> None:
        self._exchange = exchange
        self._now = now
        self._fresh_id = fresh_id

    def run(self, verb: Transact[T]) -> Talk[T]:
        """Ask one verb."""
        asked = _asked(verb)
        match asked.verb:
            case Verb.LIST:
                answer: Talk[Any] = self._list(asked)
            case Verb.HISTORY:
                answer = self._history(asked)
            case Verb.SEND_EVENT:
                answer = self._send_event(asked)
            case Verb.STATUS | Verb.DETAILS | Verb.WHY | Verb.STANDING:
                answer = self._described(asked)
            case Verb.CREATE | Verb.CREATE_BATCH:
                raise AssertionError(f"{asked.verb} is asked by create()")
            case _:
                answer = self._steer(asked)
        return (yield from answer)

    def create(self, verb: Create) -> Talk[list[str]]:
        """Begin instances; the ids of the answer."""
        asked = _asked(verb)
        path = _path(asked, "instances")
        if asked.verb is Verb.CREATE_BATCH:
            request = Send("POST", _path(asked, "instances", "batch"), body=_body(asked.given))
            batch = yield from self._get(request, wire.BatchAnswer)
            return [each.id for each in batch.instances]
        # Where the first sending may have been done, the second must not take its own instance for another's.
        again = _body({**asked.given, "if_exists": "return"})
        request = Send(
            "POST", path, body=_body(asked.given), safe=asked.safe, again=again if asked.safe else None
        )
        made = yield from self._get(request, wire.InstanceAnswer)
        return [made.id]

    def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Talk[Standing]:
        """Ask until the run has ended; raises ``ResultTimeoutError``."""
        asked = _asked(look)
        began, pause = self._now(), FIRST_PAUSE_S
        while True:
            gone_ms = round((self._now() - began) * 1000)
            left_ms = HOLD_MS if timeout_ms is None else max(0, timeout_ms - gone_ms)
            hold_ms = min(left_ms, HOLD_MS)
            standing = _standing(asked, (yield from self._instance(asked, hold_ms)))
            if standing.status in TERMINAL:
                return standing
            now_gone_ms = round((self._now() - began) * 1000)
            if timeout_ms is not None and now_gone_ms >= timeout_ms:
                raise not_yet(standing, timeout_ms)
            if now_gone_ms - gone_ms < hold_ms // 2:  # it holds requests for less than it was asked
                most = pause if timeout_ms is None else min(pause, (timeout_ms - now_gone_ms) / 1000)
                yield Pause(most)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def tick(self, max_instances: int | None) -> Talk[TickResult]:
        """Ask for a tick (B9)."""
        given = {} if max_instances is None else {"max_instances": max_instances}
        answer = yield from self._get(Send("POST", "/_runner/tick", body=_body(given)), wire.TickAnswer)
        return TickResult(answer.processed, answer.next_due)

    def _described(self, asked: Asked) -> Talk[Any]:
        found = yield from self._instance(asked, 0)
        match asked.verb:
            case Verb.STATUS:
                return found.details
            case Verb.DETAILS:
                return found.read()
            case Verb.WHY:
                return found.why
            case _:
                return _standing(asked, found)

    def _instance(self, asked: Asked, hold_ms: int) -> Talk[wire.DescribedAnswer]:
        query = {"wait_ms": str(hold_ms)} if hold_ms else {}
        request = Send("GET", _path(asked), query, safe=True, waits_s=hold_ms / 1000)
        return (yield from self._get(request, wire.DescribedAnswer))

    def _steer(self, asked: Asked) -> Talk[None]:
        request = Send("POST", _path(asked, _SUFFIX[asked.verb]), body=_body(asked.given), safe=asked.safe)
        yield from self._get(request, wire.SteeredAnswer)

    def _send_event(self, asked: Asked) -> Talk[Accepted]:
        given = {"id": self._fresh_id(), **asked.given}
        request = Send("POST", _path(asked, "events"), body=_body(given), safe=True)
        answer = yield from self._get(request, wire.AcceptedAnswer)
        # With an id that was made here, what was accepted before is this very event.
        return Accepted(duplicate=answer.duplicate and "id" in asked.given)

    def _list(self, asked: Asked) -> Talk[Page[InstanceDetails]]:
        query = {name: str(value) for name, value in asked.given.items() if value is not None}
        request = Send("GET", _path(asked, "instances"), query, safe=True)
        page = yield from self._get(request, wire.InstancesAnswer)
        return Page(tuple(each.read() for each in page.instances), page.cursor)

    def _history(self, asked: Asked) -> Talk[History]:
        """Read all pages; the first says which run it is, its cursors keep to it."""
        run = asked.given["run"]
        query = {"include_logs": "true", "page_size": "500"} | ({} if run is None else {"run": str(run)})
        steps: list[StepView] = []
        events: list[EventView] = []
        logs: list[LogView] = []
        while True:
            request = Send("GET", _path(asked, "history"), query, safe=True)
            page = yield from self._get(request, wire.HistoryAnswer)
            steps += page.steps
            events += page.events
            logs += page.logs or ()
            following = {
                name: cursor
                for name in ("steps_cursor", "events_cursor", "logs_cursor")
                if (cursor := getattr(page, name)) is not None
            }
            if not following:
                steps.sort(key=_in_order)
                return History(page.run_number, tuple(steps), tuple(events), tuple(logs))
            query = {"page_size": "500", **following}

    def _get(self, request: Send, model: type[M]) -> Talk[M]:
        body = yield from self._exchange.answer(request)
        try:
            return model.model_validate(json.loads(body))
        except (ValueError, RecursionError, ValidationError) as error:
            raise RemoteAnswerError(
                f"{request} was answered with something that keepstep does not answer; is the address right?"
            ) from error


def _asked(verb: Transact[Any] | Create) -> Asked:
    if verb.asked is None:
        raise UsageError("this is not offered over HTTP; ask an app that reaches the database")
    return verb.asked


def _path(asked: Asked, *more: str) -> str:
    own = () if asked.instance_id is None else ("instances", asked.instance_id)
    return "/" + "/".join(quote(part, safe="") for part in ("workflows", asked.workflow, *own, *more))


def _body(given: Mapping[str, Any]) -> bytes:
    return orjson.dumps(_fragments(given))


def _fragments(value: Any) -> Any:
    """Have JSON text written as the JSON that it is."""
    if isinstance(value, JsonText):
        return orjson.Fragment(str(value))
    if isinstance(value, Mapping):
        return {str(key): _fragments(held) for key, held in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_fragments(held) for held in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _standing(asked: Asked, found: wire.DescribedAnswer) -> Standing:
    told = found.details
    output = json.dumps(told.output, ensure_ascii=False) if told.status is Status.COMPLETE else None
    return Standing(asked.workflow, found.id, told.status, output, told.error)


def _in_order(step: StepView) -> tuple[bool, Any]:
    return (step.seq is None, step.started_at if step.seq is None else step.seq)
