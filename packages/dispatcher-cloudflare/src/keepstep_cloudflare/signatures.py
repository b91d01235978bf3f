"""Who may speak: Standard Webhooks signatures over the raw body, with a list of secrets for each direction.

Signing uses every secret of a list, verifying accepts any: that is how a secret is replaced without downtime. No
body is parsed here.
"""

from __future__ import annotations

import base64
import secrets as randomness
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError

from keepstep.errors import UsageError

SECRET_BYTES = 32
SECRET_BYTES_MIN = 24
PREFIX = "whsec_"

Secrets = str | Sequence[str]
"""One secret, several separated by blanks (as an environment variable has them), or a sequence of them."""


class Keyring:
    """The secrets of one direction.

    Args:
        secrets: each as ``whsec_`` and base64 of 24 bytes or more. The first is the newest, by custom.
        what: names the argument in errors.

    Raises:
        UsageError: there is none, or one cannot be read. The message never quotes a secret.
    """

    def __init__(self, secrets: Secrets, what: str = "secrets") -> None:
        given = secrets.split() if isinstance(secrets, str) else list(secrets)
        if not given:
            raise UsageError(f"{what}: at least one secret is needed, like {PREFIX}…")
        self._webhooks = [_webhook(secret, f"{what}[{n}]") for n, secret in enumerate(given)]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._webhooks)}>"

    def headers(self, body: bytes, *, message_id: str, at: datetime) -> dict[str, str]:
        """The three headers that sign ``body``, with a signature of each secret."""
        text = body.decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(
                each.sign(message_id, at.astimezone(UTC), text) for each in self._webhooks
            ),
        }

    def accepts(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether one of the secrets signed ``body``, not more than 300 s ago or ahead; compared in constant time."""
        return any(_signed(webhook, body, headers) for webhook in self._webhooks)


def new_secret() -> str:
    """A fresh secret."""
    return PREFIX + base64.b64encode(randomness.token_bytes(SECRET_BYTES)).decode()


def _webhook(secret: str, what: str) -> Webhook:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < SECRET_BYTES_MIN:
        raise UsageError(f"{what} is no secret: {PREFIX} and base64 of {SECRET_BYTES_MIN} bytes or more")
    return Webhook(key)


def _signed(webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: what is no base64, no UTF-8, no "v1,…"
        return False
    return True
