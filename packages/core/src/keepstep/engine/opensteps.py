"""The steps of a run that a body waits for, each with its current attempt: which run, rest, or may start (C4, B8)."""

from __future__ import annotations

from collections.abc import ValuesView

from keepstep.engine.attempt import Attempt, Phase, first_attempt
from keepstep.model.commands import DoCommand


class OpenSteps:
    """Current attempts by step key, in the order of the calls."""

    __slots__ = ("_attempts", "_closed")

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._closed: list[Attempt] = []

    def get(self, key: str) -> Attempt | None:
        """The current attempt of a step, None when nobody waits for it."""
        return self._attempts.get(key)

    def values(self) -> ValuesView[Attempt]:
        """All current attempts."""
        return self._attempts.values()

    def open(self, command: DoCommand) -> None:
        """The body asks for a step."""
        self._attempts[command.key] = first_attempt(command)

    def resolve(self, key: str) -> None:
        """The step is resolved."""
        self._attempts.pop(key, None)

    def close(self, key: str) -> None:
        """The body stopped waiting for the step."""
        attempt = self._attempts.pop(key, None)
        if attempt is not None and attempt.phase is Phase.RUNNING:
            self._closed.append(attempt)

    def close_all(self) -> None:
        """The body ended."""
        self._closed += self.running()
        self._attempts.clear()

    def take_closed(self) -> list[Attempt]:
        """Attempts whose callbacks nobody waits for any more: the driver cancels them."""
        closed, self._closed = self._closed, []
        return closed

    def rearm(self, now: int) -> None:
        """Attempts whose rest is over may start."""
        for attempt in self._attempts.values():
            if attempt.phase is Phase.RESTING and attempt.due_at is not None and attempt.due_at <= now:
                attempt.phase, attempt.due_at = Phase.READY, None

    def has(self, phase: Phase) -> bool:
        """Whether one is in this phase."""
        for attempt in self._attempts.values():  # noqa: SIM110  # asked several times a step, mostly of one attempt
            if attempt.phase is phase:
                return True
        return False

    def ready(self) -> list[Attempt]:
        """Attempts that may start as soon as what they depend on is durable."""
        return [attempt for attempt in self._attempts.values() if attempt.phase is Phase.READY]

    def running(self) -> list[Attempt]:
        """Attempts whose callbacks run now."""
        return [attempt for attempt in self._attempts.values() if attempt.phase is Phase.RUNNING]
