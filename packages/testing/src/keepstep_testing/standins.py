"""What is called in place of steps' functions and of outside functions, and the record of it.

A test names a step by its name, its key or its function. What stands in for a function is called as it is, on the same
loop or thread, with its attempt's context; real functions run unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstep import StepContext, step_context
from keepstep.authoring.context import entered_step, with_context
from keepstep.engine.attempt import Attempt
from keepstep.errors import UsageError
from keepstep.model.ids import parse_key
from keepstep.model.status import StepKind
from keepstep_testing.effects import Call, Effect, key_in, without_context
from keepstep_testing.sim.guard import RealWorldError
from keepstep_testing.sim.process import PROCESS

if TYPE_CHECKING:
    from keepstep_testing.simulation import Simulation

FOREVER_S = 100 * 365 * 86_400.0

Target = str | Callable[..., Any]
"""A step's name or key, or a function."""


@dataclass(slots=True)
class Plan:
    """What a test wants of a step or an effect.

    Attributes:
        target: which.
        act: what happens instead of the call; it may be awaitable.
        left: for how many calls; None = for all.
        used: whether a call met it.
    """

    target: Target
    act: Callable[..., Any]
    left: int | None = None
    used: bool = False


class WatchedContext(StepContext):
    """A step's context that notes when its idempotency key is read."""

    __slots__ = ("_on_key",)

    _on_key: Callable[[str], None]

    @classmethod
    def of(cls, context: StepContext, on_key: Callable[[str], None]) -> WatchedContext:
        """The same context, watched."""
        watched = cls(
            context.attempt,
            context.step_key,
            context.instance_id,
            context.workflow_name,
            context.run_number,
            context.tx,
            context.mount,
        )
        object.__setattr__(watched, "_on_key", on_key)
        return watched

    @property
    def idempotency_key(self) -> str:
        """Names the step to outside services (B8)."""
        key = _key_of(self)
        self._on_key(key)
        return key


def _key_of(context: StepContext) -> str:
    return StepContext.idempotency_key.__get__(context)


class StandIns:
    """See the module's head.

    Args:
        simulation: whose.

    Attributes:
        effects: declared ones, by name.
        steps: what steps were called, by the step's name.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._plans: list[Plan] = []
        self.effects: dict[str, Effect] = {}
        self.steps: dict[str, Effect] = {}

    def plan(self, target: Target, act: Callable[..., Any], times: int | None = None) -> None:
        """Have ``act`` called in place of the next calls; what was planned last counts first."""
        if not isinstance(target, str) and not callable(target):
            raise UsageError(f"a step is named by its name, its key or its function, not by {target!r}")
        self._plans.insert(0, Plan(target, act, times))

    def unused(self) -> list[str]:
        """What was planned for steps that were never called."""
        return [_shown(each.target) for each in self._plans if not each.used]

    def of_effect(self, fn: Callable[..., Any]) -> Callable[..., Any] | None:
        """What is planned for an outside function."""
        return self._due(lambda target: target == fn.__name__ or _same(target, fn))

    # --- the engine's seam

    def callee(self, fn: Callable[..., Any], attempt: Attempt, context: StepContext) -> Callable[..., Any]:
        """What an attempt calls in place of ``fn``: see :class:`keepstep.engine.seams.Seams`."""
        kind, name = _kind_and_name(context.step_key)
        reconciles = attempt.interrupted and fn is attempt.command.reconcile
        planned = None if reconciles else self._due(lambda target: _names(target, context.step_key, name, fn))
        effect = self.steps.setdefault(name, Effect(name))
        own = 1 if kind == StepKind.TRANSACTION else 0

        def watch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepContext:
            if reconciles:
                return context
            shown = without_context(args[own:], kwargs)
            number = effect.take(self.call(effect.name, shown, None, context))
            return WatchedContext.of(context, functools.partial(effect.know, number))

        if inspect.iscoroutinefunction(fn) or _is_async_object(fn) or (planned and kind == StepKind.DO):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                watched = watch(args, kwargs)
                value = self._called(planned or fn, args, kwargs, watched)
                return await value if inspect.isawaitable(value) else value

            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._called(planned or fn, args, kwargs, watch(args, kwargs))

        return called

    def _called(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: StepContext
    ) -> Any:
        own_args, own_kwargs = with_context(fn, args, kwargs, lambda: context)
        try:
            with entered_step(context):
                value = fn(*own_args, **own_kwargs)
        except RealWorldError as error:
            self._simulation.refuse(error, context.step_key)
            raise
        return self._awaited(value, context) if inspect.isawaitable(value) else value

    async def _awaited(self, value: Awaitable[Any], context: StepContext) -> Any:
        try:
            with entered_step(context):
                return await value
        except RealWorldError as error:
            self._simulation.refuse(error, context.step_key)
            raise

    def call(
        self,
        name: str,
        shown: tuple[tuple[Any, ...], dict[str, Any]],
        key: str | None,
        context: StepContext | None,
    ) -> Call:
        """A call that is made now."""
        process = PROCESS.get(None)
        return Call(
            name,
            *shown,
            key,
            None if context is None else context.step_key,
            None if context is None else context.instance_id,
            0 if context is None else context.attempt,
            "the test" if process is None else process.name,
            self._simulation.at_s,
        )

    def _due(self, matches: Callable[[Target], bool]) -> Callable[..., Any] | None:
        for plan in self._plans:
            if plan.left != 0 and matches(plan.target):
                plan.used = True
                if plan.left is not None:
                    plan.left -= 1
                return plan.act
        return None

    # --- outside functions

    def outside(self, fn: Callable[..., Any], answer: Callable[..., Any] | None) -> Effect:
        """Declare an outside function: its calls are recorded, and answered by ``answer``, or by itself."""
        fn = real(fn)
        effect = self.effects[fn.__name__] = Effect(fn.__name__)
        stand_in = self._stand_in(fn, effect, answer)
        vars(stand_in)["__keepstep_real__"] = fn
        self._simulation.patches.put(fn, stand_in)
        return effect

    def _stand_in(
        self, fn: Callable[..., Any], effect: Effect, answer: Callable[..., Any] | None
    ) -> Callable[..., Any]:
        def take(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, str | None]:
            context = _context_or_none()
            shown, key = without_context(args, kwargs), key_in(args, kwargs, context)
            return effect.take(self.call(effect.name, shown, key, context)), key

        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                number, key = take(args, kwargs)
                if effect.answered(key):
                    return effect.answer(key)
                try:
                    value = (self.of_effect(fn) or answer or fn)(*args, **kwargs)
                    value = await value if inspect.isawaitable(value) else value
                except BaseException:
                    effect.fail(number)
                    raise
                await self._simulation.passed_effect(effect.name)
                return effect.remember(key, value)

            return awaited

        @functools.wraps(fn)
        def called(*args: Any, **kwargs: Any) -> Any:
            number, key = take(args, kwargs)
            if effect.answered(key):
                return effect.answer(key)
            try:
                return effect.remember(key, (self.of_effect(fn) or answer or fn)(*args, **kwargs))
            except BaseException:
                effect.fail(number)
                raise

        return called


async def hang(*_: Any, **__: Any) -> None:
    """Never answer: the attempt's timeout ends it."""
    await asyncio.sleep(FOREVER_S)


def answering(value: Any) -> Callable[..., Any]:
    """A function that returns ``value``, whatever it is given."""

    def answer(*_: Any, **__: Any) -> Any:
        return value

    return answer


def raising(error: BaseException | type[BaseException]) -> Callable[..., Any]:
    """A function that raises ``error``, whatever it is given."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error if isinstance(error, type) else error.with_traceback(None)

    return fail


def _kind_and_name(key: str) -> tuple[str, str]:
    parsed = parse_key(key)
    return parsed.kind, parsed.name


def _context_or_none() -> StepContext | None:
    try:
        return step_context()
    except UsageError:
        return None


def _names(target: Target, key: str, name: str, fn: Callable[..., Any]) -> bool:
    return target in {key, name} if isinstance(target, str) else _same(target, fn)


def _same(target: Target, fn: Callable[..., Any]) -> bool:
    if isinstance(target, str):
        return False
    return real(target) is real(fn) or (isinstance(fn, functools.partial) and _same(target, fn.func))


def real(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a stand-in stands in for."""
    return getattr(fn, "__keepstep_real__", fn)


def _shown(target: Target) -> str:
    return repr(target) if isinstance(target, str) else target.__name__


def _is_async_object(fn: Callable[..., Any]) -> bool:
    inner = getattr(fn, "func", None) or getattr(fn, "__call__", None)  # noqa: B004  # partials and callable objects
    return inspect.iscoroutinefunction(inner)
