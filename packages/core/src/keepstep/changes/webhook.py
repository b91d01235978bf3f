"""Changes to a server: each is POSTed by a durable hook of its own, signed as Standard Webhooks says."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import import_module
from typing import Any

from keepstep.authoring.feed import read_kinds
from keepstep.authoring.hooks import HookContext, HookDefinition, HookOptions, define_hook
from keepstep.authoring.step import RetryOption, TimeoutOption
from keepstep.errors import NonRetryableError, UsageError
from keepstep.model.change import Change, ChangeKind

PREFIX = "whsec_"
SECRET_BYTES_MIN = 24


class Webhook:
    """POSTs each change to a URL as JSON, with the headers ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``.

    Each change becomes a row of the outbox in the transaction in which the sink's place moves, and is delivered from
    there like every hook (F1): at least once, with retries, dead-letter and ``app.hooks.requeue``; ``webhook-id`` is the
    change's ``id``, the same in each attempt. Changes may overtake one another: ``pub_seq`` tells their order. Answers
    of 2xx are success; 410 Gone ends a delivery for good. It needs ``keepstep[webhooks]``.

    Args:
        name: under which its place in the stream is kept: never change it.
        url: where to.
        secrets: Standard Webhooks secrets, ``whsec_`` and base64 of 24 bytes or more: one, or several while they are
            replaced; each signs.
        kinds: the only ones it gets; None = all that are published.
        retry: by default 20 attempts over about a day.
        timeout: of one request, by default 30 seconds.
        concurrency: most requests at once in one process.
        batch: how many changes at most are put into the outbox at once.

    Raises:
        UsageError: no http URL, a secret that cannot be read, an unknown kind, or the extra is not installed.
    """

    def __init__(
        self,
        name: str,
        url: str,
        secrets: str | Sequence[str],
        *,
        kinds: Iterable[ChangeKind | str] | None = None,
        retry: RetryOption = None,
        timeout: TimeoutOption = "30 seconds",
        concurrency: int | None = 8,
        batch: int = 100,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise UsageError(f"webhook {name!r}: its URL begins with https:// or http://, not {url!r}")
        self.name = name
        self.batch = batch
        self.url = url
        self._kinds = None if kinds is None else read_kinds(kinds)
        self._signers = _signers(name, [secrets] if isinstance(secrets, str) else list(secrets))

        async def post(context: HookContext, change: Change) -> None:
            await self._post(context, change)

        options = HookOptions(f"keepstep__{name}", retry, timeout, concurrency)
        self.hook: HookDefinition[Any] = define_hook(post, options)

    def __repr__(self) -> str:
        return f"<Webhook {self.name!r} to {self.url}>"

    def takes(self, change: Change) -> bool:
        """Whether it is subscribed to the change's kind."""
        return self._kinds is None or change.kind in self._kinds

    async def _post(self, context: HookContext, change: Change) -> None:
        import httpx  # noqa: PLC0415  # an extra

        body = change.model_dump_json()
        now = datetime.now(UTC)
        headers = {
            **context.trace,
            "content-type": "application/json",
            "webhook-id": change.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(each.sign(change.id, now, body) for each in self._signers),
        }
        async with httpx.AsyncClient(timeout=None) as client:  # noqa: S113  # the hook's own timeout ends it
            answer = await client.post(self.url, content=body, headers=headers)
        if answer.status_code == HTTPStatus.GONE:
            raise NonRetryableError(f"{self.url} answered 410: it wants no more of this")
        if not answer.is_success:
            raise WebhookRefusedError(f"{self.url} answered {answer.status_code}")


class WebhookRefusedError(Exception):
    """The receiver did not answer with success; the delivery is tried again."""


def _signers(name: str, secrets: Sequence[str]) -> list[Any]:
    try:
        import_module("httpx")  # an extra
        from standardwebhooks import Webhook as Signer  # noqa: PLC0415  # likewise
    except ImportError as error:
        raise UsageError(f"webhook {name!r}: install keepstep[webhooks]") from error
    if not secrets:
        raise UsageError(f"webhook {name!r}: at least one secret is needed, like {PREFIX}…")
    return [Signer(_key(name, each)) for each in secrets]


def _key(name: str, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < SECRET_BYTES_MIN:
        raise UsageError(
            f"webhook {name!r}: a secret is {PREFIX} and base64 of {SECRET_BYTES_MIN} bytes or more"
        )
    return key
