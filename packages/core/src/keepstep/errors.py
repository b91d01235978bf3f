"""Every error keepstep raises, in one tree (semantics H).

    KeepstepError
    ├── UsageError                     the caller's code is wrong: fix the program
    │   ├── WorkflowNotFoundError      no such workflow or binding is registered
    │   ├── DuplicateStepError         one step key is asked for twice at the same time
    │   └── NondeterminismError        the body did what a replay cannot repeat
    ├── InvalidInputError              the caller's values are wrong: nothing was stored
    │   ├── InvalidNameError           a workflow, step or scope name breaks C10
    │   ├── InvalidInstanceIdError
    │   ├── InvalidEventTypeError
    │   ├── InvalidDurationError
    │   ├── ValidationIssuesError      a value does not fit its declared type; ``issues`` lists why
    │   │   ├── WorkflowParamsError    params do not validate
    │   │   ├── EventPayloadError      an event does not validate
    │   │   └── HookPayloadError       a hook's payload does not validate
    │   ├── SerializationError         a value that JSON or its type cannot hold; ``path`` says where
    │   │   └── WorkflowOutputError    what the body returned cannot be stored
    │   ├── PayloadTooLargeError
    │   └── StepLimitExceededError
    ├── StateError                     the instance is not in a state that allows what was asked
    │   ├── InstanceNotFoundError
    │   ├── InstanceAlreadyExistsError
    │   ├── InstanceTerminalError
    │   ├── InstanceStateError         any other state that does not allow it
    │   ├── HookNotFoundError          no hook row has that id
    │   ├── HookStateError             the hook is being delivered just now
    │   ├── ChangesPrunedError         changes that were asked for are kept no more
    │   └── EventIdConflictError       the same event id came with another payload
    ├── WorkflowError                  raised inside a body; catchable there
    │   ├── NonRetryableError          raised by user code: end this step now
    │   ├── StepFailedError            a recorded step failure, with the original's name and message
    │   ├── StepTimeoutError           an attempt ran longer than its timeout
    │   ├── HookTimeoutError           a delivery of a hook ran longer than its timeout
    │   └── EventTimeoutError          no event came before the deadline
    ├── OutcomeError                   how an instance ended, raised by ``result()``
    │   ├── WorkflowFailedError
    │   ├── WorkflowTerminatedError
    │   ├── WorkflowCancelledError
    │   └── ResultTimeoutError         the instance has not ended within the asked time
    ├── StoreError                     the database: infrastructure, never a run's fault (C5)
    │   ├── StoreUnavailableError      connection lost or refused; try again
    │   ├── StoreConflictError         serialization failure, deadlock or lock timeout; try again
    │   ├── IntegrityError             a constraint of the database refused a write
    │   ├── SchemaVersionError         the database is newer or older than this code
    │   └── LeaseLostError             another runner took over
    │       └── RunnerCrashLoopError   a run that kills its runners (B7); stored, not raised
    ├── AccessError                    over HTTP: the host does not let this caller do that (G3)
    │   ├── UnauthenticatedError       it does not know who calls: 401
    │   └── ForbiddenError             it knows enough, and refuses: 403
    ├── RefusedError                   a fragment's route refuses, with a status and a code of its own
    └── RemoteError                    over HTTP: no answer from keepstep
        ├── RemoteUnavailableError     nobody reached, or no answer in time; try again
        └── RemoteAnswerError          an answer that is not keepstep's, or its failure

Every class has a stable ``code``; messages say subject, state, what was asked and what to do.
Driver exceptions are causes (``__cause__``), never raised raw. Nothing else may live here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class KeepstepError(Exception):
    """The root of every error that keepstep raises."""

    code: ClassVar[str] = "KEEPSTEP_ERROR"


class UsageError(KeepstepError):
    """The calling program is wrong; no retry and no other value will help."""

    code = "USAGE"


class WorkflowNotFoundError(UsageError):
    """No workflow or binding of that name is registered in this app."""

    code = "WORKFLOW_NOT_FOUND"


class DuplicateStepError(UsageError):
    """One step key was asked for twice at the same time (C1)."""

    code = "DUPLICATE_STEP"


class NondeterminismError(UsageError):
    """The body did something that a replay cannot repeat (A3), or contradicts its records (E10)."""

    code = "NONDETERMINISM"


class InvalidInputError(KeepstepError):
    """A value from the caller was refused before anything was stored."""

    code = "INVALID_INPUT"


class InvalidNameError(InvalidInputError):
    """A workflow, step or scope name breaks the limits of C1 and C10."""

    code = "INVALID_NAME"


class InvalidInstanceIdError(InvalidInputError):
    """An instance id breaks the pattern or length of C10."""

    code = "INVALID_INSTANCE_ID"


class InvalidEventTypeError(InvalidInputError):
    """An event type breaks C10, or the workflow does not declare it (D6)."""

    code = "INVALID_EVENT_TYPE"


class InvalidDurationError(InvalidInputError):
    """A duration, delay or instant cannot be read (D1)."""

    code = "INVALID_DURATION"


class ValidationIssuesError(InvalidInputError):
    """A value that does not fit its declared type.

    Attributes:
        issues: one ``{"path": "a.b.0", "message": …, "type": …}`` per finding.
    """

    code = "VALIDATION"

    def __init__(self, message: str, issues: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.issues: tuple[dict[str, Any], ...] = tuple(issues)


class WorkflowParamsError(ValidationIssuesError):
    """Params that do not validate against the workflow's annotation."""

    code = "WORKFLOW_PARAMS_INVALID"


class EventPayloadError(ValidationIssuesError):
    """An event payload that does not validate against its model (D6)."""

    code = "EVENT_PAYLOAD_INVALID"


class HookPayloadError(ValidationIssuesError):
    """A hook's payload that does not validate against its annotation (F1)."""

    code = "HOOK_PAYLOAD_INVALID"


class SerializationError(InvalidInputError):
    """A value that cannot be stored and read back as what it was (C3).

    Attributes:
        path: where in the value, like ``$.items[2].price``.
    """

    code = "SERIALIZATION"

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class WorkflowOutputError(SerializationError):
    """What a workflow returned cannot be stored."""

    code = "WORKFLOW_OUTPUT_INVALID"


class PayloadTooLargeError(InvalidInputError):
    """An encoded value is larger than its limit (C10)."""

    code = "PAYLOAD_TOO_LARGE"


class StepLimitExceededError(InvalidInputError):
    """A run asked for more ``do`` steps than its limit (C10)."""

    code = "STEP_LIMIT_EXCEEDED"


class StateError(KeepstepError):
    """The instance is not in a state that allows what was asked."""

    code = "STATE"


class InstanceNotFoundError(StateError):
    """No instance of that id exists for that workflow."""

    code = "INSTANCE_NOT_FOUND"


class InstanceAlreadyExistsError(StateError):
    """An instance of that id exists already (E2)."""

    code = "INSTANCE_ALREADY_EXISTS"


class InstanceTerminalError(StateError):
    """The instance has ended; what was asked needs a live one."""

    code = "INSTANCE_TERMINAL"


class InstanceStateError(StateError):
    """The instance is in a state that does not allow what was asked."""

    code = "INSTANCE_STATE"


class HookNotFoundError(StateError):
    """No hook row has that id: it was never triggered, was rolled back, or its retention has passed (F1)."""

    code = "HOOK_NOT_FOUND"


class HookStateError(StateError):
    """A hook row is not in a state that allows what was asked (F1)."""

    code = "HOOK_STATE"


class ChangesPrunedError(StateError):
    """Changes after the given number are kept no more: reading on would leave a gap (F3)."""

    code = "CHANGES_PRUNED"


class EventIdConflictError(StateError):
    """The event id is known already, with another type or payload (D7)."""

    code = "EVENT_ID_CONFLICT"


class WorkflowError(KeepstepError):
    """Raised inside a workflow body, which may catch it."""

    code = "WORKFLOW_ERROR"


class NonRetryableError(WorkflowError):
    """Raised by a step's code to end the step at once (C5).

    Args:
        message: what went wrong.
        name: the error name to record instead of ``NonRetryableError``.
    """

    code = "NON_RETRYABLE"

    def __init__(self, message: str = "", name: str | None = None) -> None:
        super().__init__(message)
        self.name = name or "NonRetryableError"


class StepFailedError(WorkflowError):
    """A step failed for good; raised at its await, again at every replay (C2).

    Attributes:
        step_key: which step.
        name: the original exception's class name.
        message: the original exception's message.
        attempts: how many attempts were made.
    """

    code = "STEP_FAILED"

    def __init__(self, step_key: str, name: str, message: str, attempts: int) -> None:
        super().__init__(f"step {step_key!r} failed after {attempts} attempt(s): {name}: {message}")
        self.step_key = step_key
        self.name = name
        self.message = message
        self.attempts = attempts


class StepTimeoutError(WorkflowError):
    """One attempt of a step ran longer than its timeout (C6)."""

    code = "STEP_TIMEOUT"


class HookTimeoutError(WorkflowError, TimeoutError):
    """A delivery of a hook ran longer than its timeout (F1)."""

    code = "HOOK_TIMEOUT"


class EventTimeoutError(WorkflowError, TimeoutError):
    """No event of the type was accepted before the wait's deadline (D4)."""

    code = "EVENT_TIMEOUT"


class OutcomeError(KeepstepError):
    """How an instance ended, when not with a result."""

    code = "OUTCOME"


class WorkflowFailedError(OutcomeError):
    """The instance ended ``errored``.

    Attributes:
        name: the recorded error's class name.
        message: the recorded error's message.
    """

    code = "WORKFLOW_FAILED"

    def __init__(self, subject: str, name: str, message: str) -> None:
        super().__init__(f"{subject} errored: {name}: {message}")
        self.name = name
        self.message = message


class WorkflowTerminatedError(OutcomeError):
    """The instance was terminated."""

    code = "WORKFLOW_TERMINATED"


class WorkflowCancelledError(OutcomeError):
    """The instance was cancelled."""

    code = "WORKFLOW_CANCELLED"


class ResultTimeoutError(OutcomeError, TimeoutError):
    """``result(timeout=…)`` ended before the instance did; the instance goes on."""

    code = "RESULT_TIMEOUT"


class StoreError(KeepstepError):
    """The database answered with an error: infrastructure, never a run's fault (C5)."""

    code = "STORE"


class StoreUnavailableError(StoreError):
    """The database cannot be reached or dropped the connection; the same call may go through later."""

    code = "STORE_UNAVAILABLE"


class StoreConflictError(StoreError):
    """A serialization failure, deadlock or lock timeout; a fresh transaction may go through."""

    code = "STORE_CONFLICT"


class IntegrityError(StoreError):
    """A constraint of the database refused a write."""

    code = "STORE_INTEGRITY"


class SchemaVersionError(StoreError):
    """The database's schema is not the one this code was written for."""

    code = "SCHEMA_VERSION"


class LeaseLostError(StoreError):
    """Another runner has taken over; what this one still holds is dropped (B3)."""

    code = "LEASE_LOST"


class RunnerCrashLoopError(LeaseLostError):
    """A run's lease expired too often without a boundary (B7). Stored as a run's error."""

    code = "RUNNER_CRASH_LOOP"


class AccessError(KeepstepError):
    """The host does not let this caller do that (G3)."""

    code = "ACCESS"


class UnauthenticatedError(AccessError):
    """Who calls is not known; raised by a host's ``authorize``, and by the client that got a 401."""

    code = "UNAUTHENTICATED"


class ForbiddenError(AccessError):
    """The caller may not do that; raised by a host's ``authorize``, and by the client that got a 403."""

    code = "FORBIDDEN"


class RefusedError(KeepstepError):
    """Raised by a route of a fragment, or by a service that it calls: the answer is a problem with this code.

    Args:
        status: of the answer: 400, 403, 404, 409 or 422.
        code: stable, for programs: ``"INVOICE_NOT_FOUND"``.
        detail: for people: what was asked, why it cannot be, what to do.

    Raises:
        UsageError: another status.
    """

    code = "REFUSED"
    STATUSES: ClassVar[tuple[int, ...]] = (400, 403, 404, 409, 422)

    def __init__(self, status: int, code: str, detail: str) -> None:
        if status not in self.STATUSES:
            raise UsageError(f"a route refuses with one of {self.STATUSES}, not {status!r}")
        super().__init__(detail)
        self.status = status
        self.refusal = code


class RemoteError(KeepstepError):
    """A server of keepstep's routes gave no answer of keepstep's."""

    code = "REMOTE"


class RemoteUnavailableError(RemoteError):
    """The server was not reached, did not answer in time, or said that it cannot now; whether it acted is unknown."""

    code = "REMOTE_UNAVAILABLE"


class RemoteAnswerError(RemoteError):
    """The server failed, or answered what keepstep's routes do not answer: is the address right?"""

    code = "REMOTE_ANSWER"
