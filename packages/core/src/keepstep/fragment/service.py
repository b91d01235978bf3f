"""Services: transaction scripts of a library author, called in whatever transaction there is (G1)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from keepstep.authoring.context import step_context
from keepstep.errors import UsageError
from keepstep.fragment.tx import Tx

if TYPE_CHECKING:
    from keepstep.fragment.definition import Fragment

A = ParamSpec("A")
R = TypeVar("R")


class Service(Generic[A, R]):
    """A service of a fragment. Made by ``Fragment.service``.

    Called with a ``Tx`` it joins that transaction, also from another fragment that uses its own. Hosts call it through
    ``app.<fragment>.services``, workflows as ``step.transaction("open", open_invoice, order_id)``, which commits it
    with the step.

    Attributes:
        name: the function's.
        fragment: whose it is.
    """

    def __init__(self, fragment: Fragment[Any, Any], fn: Callable[Concatenate[Tx, A], R]) -> None:
        if not inspect.isfunction(fn) or inspect.iscoroutinefunction(fn):
            raise UsageError(
                f"a service is a plain def function, which works in sync and async transactions, not {fn!r}"
            )
        functools.update_wrapper(cast("Any", self), fn)
        self.name: str = fn.__name__
        self.fragment = fragment
        self._fn = fn

    def __repr__(self) -> str:
        return f"<service {self.fragment.name}.{self.name}>"

    def __call__(self, tx: Tx, /, *args: A.args, **kwargs: A.kwargs) -> R:
        """Call the service in a transaction.

        Args:
            tx: the transaction; in ``step.transaction`` the step's.
            *args: the service's own.
            **kwargs: likewise.

        Raises:
            UsageError: ``tx`` is of a fragment that does not use this one.
        """
        return self._fn(self._joined(tx), *args, **kwargs)

    def _joined(self, given: Any) -> Tx:
        tx = given if hasattr(given, "within") else _of_step(given, self)
        return tx.within(self.fragment)


def _of_step(session: object, service: Service[..., Any]) -> Tx:
    """The transaction of the step that is being executed: ``step.transaction`` gives a session."""
    mount = step_context().mount
    if mount is None:
        raise UsageError(
            f"{service!r} was called by a workflow outside fragments, which does not know where it is mounted; "
            "a fragment that uses its fragment can call it"
        )
    return mount.open(session)
