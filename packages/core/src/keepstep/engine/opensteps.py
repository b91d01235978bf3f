"""The steps of a run that a body waits for, each with its current attempt: which run, rest, or may start (C4, B8)."""

from __future__ import annotations

from collections.abc import ValuesView

from keepstep.engine.attempt import Attempt, Phase, next_attempt
from keepstep.model.commands import DoCommand


class OpenSteps:
    """Current attempts by step key, in the order of the calls.

    Attributes:
        running: how many of them execute now.
        resting: how many have failed and wait until they are due.
        closed: attempts whose callbacks nobody waits for any more, for :meth:`take_closed`.
    """

    __slots__ = ("_attempts", "closed", "resting", "running")

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self.closed: list[Attempt] = []
        self.running = self.resting = 0

    def get(self, key: str) -> Attempt | None:
        """The current attempt of a step, None when nobody waits for it."""
        return self._attempts.get(key)

    def values(self) -> ValuesView[Attempt]:
        """All current attempts."""
        return self._attempts.values()

    # --- the body's side

    def open(self, command: DoCommand) -> None:
        """The body asks for a step."""
        if command.record is None:
            self._attempts[command.key] = Attempt(command, 0, Phase.READY)
            return
        self._attempts[command.key] = attempt = next_attempt(command, command.record)
        self.resting += attempt.phase is Phase.RESTING

    def resolve(self, key: str) -> None:
        """The step is resolved."""
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self.running -= attempt.phase is Phase.RUNNING
            self.resting -= attempt.phase is Phase.RESTING

    def close(self, key: str) -> None:
        """The body stopped waiting for the step."""
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.phase is Phase.RUNNING:
            self.closed.append(attempt)
        self.resolve(key)

    def close_all(self) -> None:
        """The body ended."""
        for key in list(self._attempts):
            self.close(key)

    def take_closed(self) -> list[Attempt]:
        """What was closed since the last time: the driver cancels it."""
        closed, self.closed = self.closed, []
        return closed

    # --- the driver's side

    def start(self, attempt: Attempt) -> None:
        """It executes."""
        attempt.phase = Phase.RUNNING
        self.running += 1

    def rest(self, attempt: Attempt, due_at: int) -> None:
        """It failed, and the next one may start at ``due_at``."""
        attempt.phase, attempt.due_at = Phase.RESTING, due_at
        self.running -= 1
        self.resting += 1

    def rearm(self, now: int) -> None:
        """Attempts whose rest is over may start."""
        for attempt in self._attempts.values():
            if attempt.phase is Phase.RESTING and attempt.due_at is not None and attempt.due_at <= now:
                attempt.phase, attempt.due_at = Phase.READY, None
                self.resting -= 1

    def put_back(self, attempt: Attempt) -> None:
        """It did not take place: it may start."""
        attempt.phase = Phase.READY
        self.running -= 1

    @property
    def startable(self) -> int:
        """How many may start as soon as what they depend on is durable."""
        return len(self._attempts) - self.running - self.resting

    def ready(self) -> list[Attempt]:
        """Those that may start."""
        return [attempt for attempt in self._attempts.values() if attempt.phase is Phase.READY]

    def executing(self) -> list[Attempt]:
        """Those whose callbacks run now."""
        return [attempt for attempt in self._attempts.values() if attempt.phase is Phase.RUNNING]
