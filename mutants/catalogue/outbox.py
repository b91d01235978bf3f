"""The outbox: a hook's row exists with the commit that wanted it, and is marked after its delivery (F1)."""

from __future__ import annotations

from mutants.fault import mutant

OUTBOX = (
    mutant(
        "outbox-in-a-second-transaction",
        "what a step leaves in tx is written in a transaction before its boundary's",
        "C8 F1",
        "11 27",
        (
            "engine/userwrites.py",
            "        if not race.win():\n",
            "        session.commit()\n        if not race.win():\n",
        ),
    ),
    mutant(
        "outbox-marked-first",
        "a hook is marked as delivered before its handler is called",
        "F1",
        "28",
        (
            "engine/hooks.py",
            "        self._under_way[delivery] = None\n",
            """        self._under_way[delivery] = None
        from keepstep.model.hooks import Delivered

        self._ends.write(Finished(row.id, row.fence, Delivered(), self._clock.now_ms()))
""",
        ),
    ),
    mutant(
        "outcome-without-fence",
        "a delivery that was taken over still writes its outcome",
        "F1",
        "29",
        (
            "store/hooks.py",
            '_mine = (hook.c.id == bindparam("row"), hook.c.fence == bindparam("of_fence"))',
            '_mine = (hook.c.id == bindparam("row"), bindparam("of_fence") != fixed(0))',
        ),
    ),
    mutant(
        "delivery-not-counted",
        "a delivery that nobody finishes is no attempt",
        "F1",
        "29",
        ("store/hooks.py", "attempt=hook.c.attempt + fixed(1)", "attempt=hook.c.attempt"),
    ),
    mutant(
        "delivery-never-taken-over",
        "a delivery whose process died is never made again",
        "F1",
        "28 38",
        (
            "store/hooks.py",
            "    hook.c.run_at.is_not(None),\n    hook.c.run_at <=",
            "    hook.c.status == PENDING,\n    hook.c.run_at <=",
        ),
    ),
    mutant(
        "failed-delivery-forgotten",
        "a hook whose handler failed is not delivered again",
        "F1",
        "28",
        (
            "kernel/hooks.py",
            "return Again(now + retry.delay_ms(row.attempt, error, draw), text)",
            "return Delivered()",
        ),
    ),
)
