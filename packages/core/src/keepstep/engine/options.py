"""What an app may tell its runner: one frozen value. No default may be read from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms
from keepstep.model.options import names_known_options


@names_known_options
@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """How a runner works.

    Attributes:
        lease: how long a silent runner keeps its runs before others take them over (B2); renewed every third of it.
            At least 100 ms.
        concurrency: runs in hand at the same time.
        sync_steps_max: threads for synchronous step callbacks (A4).
        cache: suspended bodies kept in memory; 0 = replay at every wake (A6).
        cache_bytes: roughly how much memory these bodies may take.
        drain: how long a stop waits for steps that execute before it gives their runs back.
        group_max: boundaries in one commit.
        hooks: deliveries of hooks at the same time.
        sync_hooks_max: threads for synchronous hooks.
        hook_lease: how long a silent delivery of a hook is left alone before another attempt is made; renewed every
            third of it while the hook runs. At least 100 ms.
        hook_retention: how long delivered hooks are kept.
        dead_hook_retention: how long hooks are kept whose attempts are used up.

    Raises:
        TypeError: an unknown option; the message lists the known ones.
        UsageError: a value out of its range.
        InvalidDurationError: a duration that cannot be read.
    """

    lease: timedelta | str = "30 seconds"
    concurrency: int = 1024
    sync_steps_max: int = 32
    cache: int = 10_000
    cache_bytes: int = 256 * 1024 * 1024
    drain: timedelta | str = "10 seconds"
    group_max: int = 1000
    hooks: int = 64
    sync_hooks_max: int = 16
    hook_lease: timedelta | str = "30 seconds"
    hook_retention: timedelta | str = "7 days"
    dead_hook_retention: timedelta | str = "30 days"

    def __post_init__(self) -> None:
        if self.lease_ms < 100:
            raise UsageError(f"lease must be at least 100 ms, not {self.lease!r}")
        if self.hook_lease_ms < 100:
            raise UsageError(f"hook_lease must be at least 100 ms, not {self.hook_lease!r}")
        for name in _DURATIONS:
            duration_ms(getattr(self, name), name)
        for name, least in _COUNTS.items():
            value: object = getattr(self, name)
            if type(value) is not int or value < least:
                raise UsageError(f"{name} must be an integer of {least} or more, not {value!r}")

    @property
    def lease_ms(self) -> int:
        """``lease`` in milliseconds."""
        return duration_ms(self.lease, "lease")

    @property
    def hook_lease_ms(self) -> int:
        """``hook_lease`` in milliseconds."""
        return duration_ms(self.hook_lease, "hook_lease")

    @property
    def drain_ms(self) -> int:
        """``drain`` in milliseconds."""
        return duration_ms(self.drain, "drain")


_DURATIONS = ("drain", "hook_retention", "dead_hook_retention")

_COUNTS = {
    "concurrency": 1,
    "sync_steps_max": 1,
    "cache": 0,
    "cache_bytes": 0,
    "group_max": 1,
    "hooks": 1,
    "sync_hooks_max": 1,
}
"""Options that count something, and the least they may be."""
