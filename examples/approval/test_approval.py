"""What the approval example promises, in one process and across a killed one."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from examples.approval.app import make_app
from examples.approval.workflows import Approval, Order, Receipt

ROOT = Path(__file__).parents[2]


async def test_an_approved_order_ends_with_its_receipt(database_url: str) -> None:
    """The decision, sent before it is waited for, is kept until then (D5); the result is typed (C3)."""
    async with make_app(database_url).running() as app:
        instance = await app.workflows.approval.create(id="o-1", params=Order(item="lamp", quantity=3))
        await instance.send_event(Approval(approved=True, by="maria"))
        receipt = await instance.result(timeout=30)
        assert receipt == Receipt(order_id="o-1", total=Decimal("74.70"), approved=True, decided_by="maria")
        steps = {step.name: step.attempts for step in (await instance.history()).steps}
    assert steps == {"price": 2, "time to reconsider": 0, "manager's decision": 0, "reserve": 1}


async def test_a_refused_order_reserves_nothing(database_url: str) -> None:
    """A no ends the order without the step that follows a yes."""
    async with make_app(database_url).running() as app:
        instance = await app.workflows.approval.create(params=Order(item="desk", quantity=1))
        await instance.send_event(Approval(approved=False, by="maria"))
        receipt = await instance.result(timeout=30)
        names = [step.name for step in (await instance.history()).steps]
    assert not receipt.approved
    assert "reserve" not in names


def test_the_demo_survives_a_kill() -> None:
    """`make demo`: a killed process's order is finished by another process, and the timeline says so (B8)."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.demo"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("executing do:price, attempt 2", "SIGKILL", "resumed the order", "replayed do:price"):
        assert told in done.stdout
