"""Which alarm answers for which workflow: one shard for all of an app, or some, shared out by workflow name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from keepstep.errors import UsageError

SHARD = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


class Shards:
    """Several alarms for one app: each workflow belongs to one of them, by a hash of its name.

    The hash is the same in every process and release. Change ``count`` as you like, once the Worker's allow-list has
    the new names: whatever is due is found by its workflow, not by where it was armed before.

    Args:
        prefix: the shards are called ``prefix-0`` to ``prefix-(count-1)``.
        count: how many.

    Raises:
        UsageError: no name or no count that can be used.
    """

    def __init__(self, prefix: str, count: int) -> None:
        if type(count) is not int or not 1 <= count <= 1000:
            raise UsageError(f"a count of shards is an integer from 1 to 1000, not {count!r}")
        self.names = tuple(checked_shard(f"{prefix}-{number}") for number in range(count))

    def __repr__(self) -> str:
        return f"<Shards {self.names[0]} … {self.names[-1]}>"

    def of(self, workflow: str) -> str:
        """The shard that answers for a workflow."""
        digest = hashlib.sha256(workflow.encode()).digest()
        return self.names[int.from_bytes(digest[:8], "big") % len(self.names)]

    def workflows(self, shard: str, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that a shard answers for."""
        return [name for name in names if self.of(name) == shard]


class OneShard:
    """One alarm for all workflows."""

    def __init__(self, name: str) -> None:
        self.names = (checked_shard(name),)

    def workflows(self, shard: str, names: Sequence[str]) -> list[str]:  # noqa: ARG002  # there is no other one
        """All of ``names``."""
        return list(names)


def shards_of(shard: str | Shards) -> Shards | OneShard:
    """What a ``shard`` argument means."""
    return OneShard(shard) if isinstance(shard, str) else shard


def checked_shard(name: str) -> str:
    """The name, if a shard can have it.

    Raises:
        UsageError: it cannot.
    """
    if not SHARD.fullmatch(name):
        raise UsageError(f"a shard's name is 1 to 100 of A-Z a-z 0-9 _ -, not {name!r}")
    return name
