"""What a failed run teaches: what went wrong, why a durable engine lets it happen, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lesson:
    """One thing to learn.

    Attributes:
        why: what is true of durable execution that makes it happen.
        instead: what to write instead, each as one line.
    """

    why: str
    instead: tuple[str, ...]

    def text(self) -> str:
        """As lines."""
        return "\n".join([f"  Why: {self.why}", "  Instead:", *(f"    - {each}" for each in self.instead)])


AT_LEAST_ONCE = Lesson(
    "a step is executed at least once (B8). A process can die after the call and before the commit that records its"
    " result;\n       the next process finds no record, and calls again. Only what the receiver can recognise is done once.",
    (
        "give the receiver the step's key: a parameter `context: StepContext`, and context.idempotency_key in the call",
        "if it is a write to your own database: step.transaction(name, fn), which commits with the step (C8)",
        "if the receiver knows no keys: step.do(…, journal_intent=True, reconcile=look_up), which asks before it repeats",
    ),
)

NONDETERMINISM = Lesson(
    "a body is run again from its start after a crash, and takes its recorded results in their order (A2). A body that\n"
    "       decides by the clock, by chance or by what it reads outside takes another path then.",
    (
        "ask step.now(), step.random() and step.uuid4(), which are equal on every replay (A3)",
        "read what lies outside in a step: step.do(name, fn)",
        "give steps names that do not change from one replay to the next",
    ),
)

STRANDED = Lesson(
    "without a mishap the instance ends, and with it it does not.",
    (
        "look at what it waits for; a step that only works once, or an event that is only sent once, may be lost to a retry",
        "give a wait a timeout and decide what a timeout means",
    ),
)

LOST_EVENT = Lesson(
    "an event is kept until a wait takes it (D4, D5), and each wait takes one. A body that waits on another path after a\n"
    "       crash leaves it in the buffer.",
    ("wait for the event on every path that can be reached once it was sent",),
)

DOUBLED_EVENT = Lesson(
    "a sender that gets no answer sends again; without an id the second one is another event (D7).",
    ("send it with an id of the sender's: instance.send_event(…, id=…)",),
)

ANOTHER_END = Lesson(
    "a mishap should cost time and nothing else: what is recorded stays, what is not is tried again.",
    (
        "make what a step does repeatable: it may find its own earlier attempt done",
        "let retries outlast a restart: Retry(max_attempts=…) counts every attempt that raised",
    ),
)

OF_RULE = {
    "13": Lesson(
        "a recorded step must not be executed again (C2). This is a defect of keepstep.",
        ("report it with this case",),
    ),
    "24": Lesson(
        "a timer must not fire early (D3). This is a defect of keepstep.", ("report it with this case",)
    ),
}

OWN_DEFECT = Lesson(
    "a rule of the engine does not hold. This is a defect of keepstep.", ("report it with this case",)
)
