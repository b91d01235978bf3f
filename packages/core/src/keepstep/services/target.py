"""What every operation shares: which instance it is about, and what its commit leaves behind."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from keepstep.errors import InstanceNotFoundError

T = TypeVar("T")


class Target(NamedTuple):
    """An instance, by name."""

    workflow: str
    instance_id: str

    def __str__(self) -> str:
        return f"workflow {self.workflow!r} instance {self.instance_id!r}"


class Done(NamedTuple, Generic[T]):
    """What a script returns: the answer, and the runs to which its commit may have brought work or an end."""

    answer: T
    touched: tuple[int, ...] = ()


def not_found(target: Target, asked: str) -> InstanceNotFoundError:
    """Build the error for an operation on an instance that is not there. ``asked`` is like ``"it cannot be paused"``."""
    return InstanceNotFoundError(
        f"{target} does not exist, so {asked}; create() makes it, list() shows which instances there are"
    )
