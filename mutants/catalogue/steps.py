"""Steps and their attempts: counts, delays, what is retried, what outside services are told (C4-C6, B8)."""

from __future__ import annotations

from mutants.fault import mutant

STEPS = (
    mutant(
        "one-attempt-too-many",
        "a step is tried once more than its policy says",
        "C4",
        "17",
        ("kernel/attempts.py", "attempt >= retry.max_attempts", "attempt > retry.max_attempts"),
    ),
    mutant(
        "attempts-begin-anew",
        "after a takeover a step has all its attempts again",
        "C4",
        "17",
        ("engine/attempt.py", "Attempt(command, record.attempt,", "Attempt(command, 0,"),
    ),
    mutant(
        "failed-attempt-not-stored",
        "a failed attempt and its rest are kept in memory only",
        "C4",
        "17",
        (
            "engine/execution.py",
            "self.pending.put(row._replace(status=StepStatus.INTENT) if attempt.interrupted else row)",
            "row._replace(status=StepStatus.INTENT)",
        ),
    ),
    mutant(
        "retry-without-delay",
        "the next attempt follows at once",
        "C4",
        "17",
        ("kernel/attempts.py", "now + retry.delay_ms(attempt, error, draw)", "now"),
    ),
    mutant(
        "non-retryable-retried",
        "a step that raised NonRetryableError is tried again",
        "C5",
        "17",
        ("kernel/attempts.py", "not error.retryable or attempt", "attempt"),
    ),
    mutant(
        "retry-not-waited-for",
        "a run that parks forgets when its failed steps are to be tried again",
        "C4 D2",
        "25 38",
        ("engine/execution.py", "if attempt.phase is Phase.RESTING:", "if False:"),
    ),
    mutant(
        "key-changes-with-the-attempt",
        "outside services see another idempotency key at each attempt",
        "B8",
        "16",
        (
            "authoring/context.py",
            "/{self.run_number}/{self.step_key}",
            "/{self.run_number}/{self.step_key}/{self.attempt}",
        ),
    ),
    mutant(
        "result-of-a-pause-lost",
        "a pause takes effect while a step executes, whose result is lost",
        "E3",
        "E3",
        ("kernel/boundary.py", "if run.pause_requested and not executing:", "if run.pause_requested:"),
    ),
    mutant(
        "steps-start-before-a-pause",
        "steps start although a pause was asked for",
        "E3",
        "E3",
        (
            "engine/execution.py",
            "if self.run.pause_requested or self.outcome is not None:",
            "if self.outcome is not None:",
        ),
    ),
    mutant(
        "intent-not-stored",
        "a step with journal_intent starts without its intent, so after a crash it is run again blindly",
        "B8",
        "B8",
        ("engine/execution.py", "if intents or (hold and not draining):", "if False:"),
    ),
    mutant(
        "intent-run-again-blindly",
        "after a crash a step with journal_intent is run again, and not reconciled",
        "B8",
        "B8",
        ("engine/attempts.py", "attempt.interrupted and command.reconcile is not None", "False"),
    ),
)
