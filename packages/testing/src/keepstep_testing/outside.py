"""What a test says of the world outside its workflows: what is recorded, what is answered, what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, overload

from keepstep.errors import UsageError
from keepstep_testing.effects import Effect
from keepstep_testing.standins import StandIns, Target, answering, hang, raising

_NOTHING: Any = object()


class Outside:
    """The verbs of a simulation that concern the outside.

    Attributes:
        stand_ins: what stands in for functions.
    """

    stand_ins: StandIns

    @overload
    def effect(self, which: str, /) -> Effect: ...
    @overload
    def effect(
        self, which: Callable[..., Any], /, *, returns: Any = ..., does: Callable[..., Any] | None = ...
    ) -> Effect: ...
    def effect(
        self,
        which: str | Callable[..., Any],
        /,
        *,
        returns: Any = _NOTHING,
        does: Callable[..., Any] | None = None,
    ) -> Effect:
        """Record the calls of an outside function: charges, mails, requests; or look at a record by its name.

        Whoever finds the function in its module or class finds a stand-in until the simulation ends. Without
        ``returns`` and ``does`` the function itself is called.

        Args:
            which: a function of a module, or a method, like ``Payments.charge``; or the name of a declared function or of
                a step, of which every call is recorded in any case.
            returns: what it answers.
            does: called with the same arguments in its place, and its answer given.
        """
        if returns is not _NOTHING and does is not None:
            raise UsageError("sim.effect takes returns= or does=, not both")
        if isinstance(which, str):
            return self.effects.get(which) or Effect(which)
        return self.stand_ins.outside(which, answering(returns) if returns is not _NOTHING else does)

    @property
    def effects(self) -> dict[str, Effect]:
        """Declared effects by the function's name, and what steps were called, by the step's name."""
        return {**self.stand_ins.steps, **self.stand_ins.effects}

    def stub(self, step: Target, *, returns: Any) -> None:
        """Have a step return a value without calling its function.

        Args:
            step: its name, its key or its function.
            returns: a value of the type that the function is annotated with.
        """
        self.stand_ins.plan(step, answering(returns))

    def fail(self, step: Target, error: BaseException | type[BaseException]) -> None:
        """Have every attempt of a step, or every call of an effect, raise."""
        self.stand_ins.plan(step, raising(error))

    def fail_times(self, step: Target, times: int, error: BaseException | type[BaseException]) -> None:
        """Have the next ``times`` attempts of a step, or calls of an effect, raise."""
        self.stand_ins.plan(step, raising(error), times)

    def timeout(self, step: Target, times: int = 1) -> None:
        """Have the next attempts of a step hang until their timeout ends them (C6)."""
        self.stand_ins.plan(step, hang, times)


Effects = Mapping[Callable[..., Any], Any] | Iterable[Callable[..., Any]]
"""Outside functions: with what each answers, or to be really called."""
Stubs = Mapping[Any, Any]
"""What steps return without being called."""


def put_outside(sim: Outside, stubs: Stubs, effects: Effects) -> None:
    """Tell a simulation both, before it begins."""
    for step, value in stubs.items():
        sim.stub(step, returns=value)
    if isinstance(effects, Mapping):
        for fn, answer in cast("Mapping[Callable[..., Any], Any]", effects).items():
            sim.effect(fn, returns=answer)
    else:
        for fn in effects:
            sim.effect(fn)
