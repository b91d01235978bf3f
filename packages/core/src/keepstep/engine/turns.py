"""Whose boundary of a run comes next: a step's own transaction waits until none is on its way, and holds the rest (C8)."""

from __future__ import annotations

import asyncio

from keepstep.engine.execution import Execution


async def take_turn(execution: Execution) -> None:
    """Wait until no boundary of the run is on its way, and hold the next one back.

    Who is passed the turn finds ``committing`` set already: nothing comes between.
    """
    if execution.committing:
        turn = asyncio.get_running_loop().create_future()
        execution.turns.append(turn)
        await turn
    execution.committing = True


def pass_turn(execution: Execution) -> None:
    """Let the first step go on that waits with its transaction; those that are cancelled wait no more."""
    while execution.turns:
        turn = execution.turns.pop(0)
        if not turn.done():
            execution.committing = True
            turn.set_result(None)
            return
