"""The limits of C10, in one frozen value that an app hands down. Checks live where the values enter."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms
from keepstep.model.options import names_known_options


@names_known_options
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may not be exceeded (C10); a value beyond is an error where it is written.

    Attributes:
        workflow_name_max: characters of a workflow's name.
        instance_id_max: characters of an instance id.
        event_type_max: characters of an event type.
        step_name_max: characters of a step or scope name.
        payload_bytes_max: UTF-8 bytes of an encoded result, params or payload.
        steps_max: ``do`` steps of one run; sleeps and waits are not counted.
        sleep_max: the longest sleep.
        wait_min: the shortest timeout of a wait.
        wait_max: the longest timeout of a wait.
        batch_max: items of one ``create_batch``.
        takeovers_max: expired leases in a row without a boundary, before the run is errored (B7).

    Raises:
        TypeError: an unknown limit; the message lists the known ones.
        UsageError: a count that is not a positive integer, or ``wait_min`` above ``wait_max``.
        InvalidDurationError: a duration that cannot be read.
    """

    workflow_name_max: int = 64
    instance_id_max: int = 100
    event_type_max: int = 100
    step_name_max: int = 256
    payload_bytes_max: int = 1_048_576
    steps_max: int = 1024
    sleep_max: timedelta | str = "365 days"
    wait_min: timedelta | str = "1 second"
    wait_max: timedelta | str = "365 days"
    batch_max: int = 100
    takeovers_max: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in _DURATIONS:
                duration_ms(getattr(self, field.name), field.name)
            else:
                _check_count(field.name, getattr(self, field.name))
        if self.wait_min_ms > self.wait_max_ms:
            raise UsageError(f"wait_min {self.wait_min!r} is longer than wait_max {self.wait_max!r}")

    @property
    def sleep_max_ms(self) -> int:
        """``sleep_max`` in milliseconds."""
        return duration_ms(self.sleep_max, "sleep_max")

    @property
    def wait_min_ms(self) -> int:
        """``wait_min`` in milliseconds."""
        return duration_ms(self.wait_min, "wait_min")

    @property
    def wait_max_ms(self) -> int:
        """``wait_max`` in milliseconds."""
        return duration_ms(self.wait_max, "wait_max")


_DURATIONS = frozenset({"sleep_max", "wait_min", "wait_max"})


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} must be an integer of 1 or more, not {value!r}")
