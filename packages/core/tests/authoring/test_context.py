# ruff: noqa: D101, D102, D103 (callbacks under test)
"""What a step's callback can ask for (B8, C7, C8)."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from keepstep.authoring import context as module
from keepstep.authoring.context import (
    StepContext,
    StepTx,
    context_parameter,
    entered_step,
    step_context,
    with_context,
)
from keepstep.authoring.context import StepContext as Renamed
from keepstep.errors import UsageError


def make(attempt: int = 1) -> StepContext:
    return StepContext(attempt, "cart>do:charge#2", "o-1", "order", 3)


def first(ctx: StepContext, order: str) -> Any:
    return ctx, order


def last(order: str, ctx: StepContext) -> Any:
    return ctx, order


def only_keyword(order: str, *, ctx: StepContext) -> Any:
    return ctx, order


def optional(order: str, ctx: module.StepContext | None = None) -> Any:
    return ctx, order


def qualified(order: str, ctx: module.StepContext) -> Any:
    return ctx, order


def renamed(ctx: Renamed, order: str) -> Any:
    return ctx, order


def without(order: str) -> Any:
    return order


def returning(order: str) -> StepContext: ...


class Service:
    def method(self, ctx: StepContext, order: str) -> Any:
        return ctx, order

    @classmethod
    def of_class(cls, ctx: StepContext, order: str) -> Any:
        return ctx, order

    @staticmethod
    def static(ctx: StepContext, order: str) -> Any:
        return ctx, order

    def __call__(self, ctx: StepContext, order: str) -> Any:
        return ctx, order


def evaluated(ctx, order):
    return ctx, order


evaluated.__annotations__["ctx"] = StepContext


def named(value: object) -> str | None:
    """A test's id that is the same in every process."""
    return getattr(value, "__name__", None)


CALLBACKS = [
    first,
    last,
    only_keyword,
    qualified,
    renamed,
    evaluated,
    Service().method,
    Service.of_class,
    Service.static,
    Service(),
    functools.partial(first),
    functools.partial(Service().method),
]


@pytest.mark.parametrize("fn", CALLBACKS, ids=named)
@pytest.mark.parametrize(("args", "kwargs"), [(("o",), {}), ((), {"order": "o"})])
def test_the_context_is_filled_in(fn, args, kwargs):
    """C7: a parameter annotated StepContext gets the context wherever it stands, however the others are given."""
    context = make()
    assert context_parameter(fn) == "ctx"
    given, named = with_context(fn, args, kwargs, lambda: context)
    assert fn(*given, **named) == (context, "o")


def test_arguments_that_a_partial_has_given():
    """C7: the context's place counts from what a partial leaves open; a context it has given stays."""
    context, own = make(1), make(2)
    given, named = with_context(functools.partial(last, "o"), (), {}, lambda: context)
    assert functools.partial(last, "o")(*given, **named) == (context, "o")
    bound = functools.partial(first, ctx=own)
    assert context_parameter(bound) is None
    assert with_context(bound, (), {"order": "o"}, lambda: context) == ((), {"order": "o"})


def test_a_context_that_the_caller_gives():
    """C7: a context passed by name is left alone."""
    own = make(2)
    assert with_context(first, (), {"ctx": own, "order": "o"}, make) == ((), {"ctx": own, "order": "o"})


@pytest.mark.parametrize(
    "fn", [without, returning, lambda ctx: ctx, len, print, Service, str.upper], ids=named
)
def test_callbacks_that_ask_for_none(fn):
    """C7: without the annotation nothing is filled in, also for what has no annotations at all."""
    assert context_parameter(fn) is None
    assert with_context(fn, ("o",), {"a": 1}, make) == (("o",), {"a": 1})


def test_an_optional_context_is_filled_in():
    """C7: an optional StepContext is one, too."""
    assert context_parameter(optional) == "ctx"


def test_the_idempotency_key_is_stable():
    """B8: the key names the step, not the attempt: it is the same for all attempts and takeovers."""
    assert make(1).idempotency_key == make(5).idempotency_key == "order/o-1/3/cart>do:charge#2"


def test_the_current_context():
    """C7: code called from a step finds its context; contexts nest and end."""
    outer, inner = make(1), make(2)
    with entered_step(outer):
        assert step_context() is outer
        with entered_step(inner):
            assert step_context() is inner
        assert step_context() is outer
    with pytest.raises(UsageError, match="outside a step"):
        step_context()


def test_writes_are_kept_for_the_boundary():
    """C8: tx keeps what it is given, in order; each attempt has its own."""
    context = make()
    context.tx.execute("INSERT", {"a": 1})
    context.tx.execute("DELETE")
    assert context.tx.writes == [("INSERT", {"a": 1}), ("DELETE", None)]
    assert make().tx.writes == []
    assert isinstance(context.tx, StepTx)
