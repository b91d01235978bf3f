"""Hooks and real processes: killed between commit and delivery, killed in a delivery, many at once (F1, defect 10)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from keepstep import App, Fragment
from keepstep.store.hooks import Trigger, insert_trigger

PROGRAM = Path(__file__).with_name("hooks_program.py")
HOOKS = 10_000
FAILING, SLOW, BLOCKING = 500, 60, 100


def start(database: str, effects: Path, mode: str) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    command = [sys.executable, str(PROGRAM), database, str(effects), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seen(effects: Path) -> list[tuple[str, str, int, int]]:
    """What hooks did: kind, text, attempt, milliseconds."""
    lines = effects.read_text(encoding="ascii").splitlines() if effects.exists() else []
    rows = [line.split() for line in lines]
    return [(kind, text, int(attempt), int(at)) for kind, text, attempt, at, _ in rows]


def kill_when_ready(program: subprocess.Popen[str]) -> None:
    """Wait for its word, then kill it for good."""
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.kill()
    program.wait()
    program.stdout.close()


def deliver(database: str, effects: Path) -> None:
    """Have another process deliver what is pending."""
    program = start(database, effects, "deliver")
    assert program.communicate(timeout=60) == ("", None)
    assert program.returncode == 0


def test_killed_between_commit_and_delivery(database_url: str, tmp_path: Path) -> None:
    """F1: what was committed is delivered by whoever comes next, once."""
    effects = tmp_path / "effects"
    kill_when_ready(start(database_url, effects, "commit"))
    assert seen(effects) == []
    deliver(database_url, effects)
    assert [each[:3] for each in seen(effects)] == [("quick", "o-1", 1)]


def test_killed_in_a_delivery(database_url: str, tmp_path: Path) -> None:
    """F1: the delivery's lease ends, the next attempt follows elsewhere, and counts."""
    effects = tmp_path / "effects"
    kill_when_ready(start(database_url, effects, "commit"))
    hanging = start(database_url, effects, "hang")
    deadline = time.monotonic() + 60
    while not seen(effects):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hanging.kill()
    hanging.communicate()
    deliver(database_url, effects)
    assert [each[:3] for each in seen(effects)] == [("quick", "o-1", 1), ("quick", "o-1", 2)]


async def fill(database: str) -> None:
    """Trigger everything in one transaction, slow ones first."""
    app = App(database, fragments=[Fragment("mail")], dispatcher=None)
    await app.migrate()
    await app.tick()
    kinds = ["slow"] * SLOW + ["blocking"] * BLOCKING + ["flaky"] * FAILING
    kinds += ["quick"] * (HOOKS - len(kinds))

    def script():
        for number, kind in enumerate(kinds):
            yield from insert_trigger(Trigger(number + 1, f"mail__{kind}", None, None, f'"t-{number}"', None))

    await app._engine.store.transaction("fill", script())
    await app.stop()


async def test_three_processes_drain_ten_thousand(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Defect 10, F1: each is delivered; failing and slow ones among them hold nothing up."""
    effects = tmp_path / "effects"
    await fill(database_url)
    begun = time.time()
    programs = [start(database_url, effects, "drain") for _ in range(3)]
    for program in programs:
        program.communicate(timeout=110)
        assert program.returncode == 0
    calls = seen(effects)
    succeeded = Counter(text for kind, text, attempt, _ in calls if kind != "flaky" or attempt > 1)
    assert len(succeeded) == HOOKS
    took = max(at for *_, at in calls) / 1000 - begun
    first = min(at for *_, at in calls)
    ends = {kind: max(at for each, _, _, at in calls if each == kind) - first for kind in ("quick", "slow")}
    quick = sorted(at for kind, _, _, at in calls if kind == "quick")
    half, most = (quick[int(len(quick) * part)] - first for part in (0.5, 0.99))
    again = sum(succeeded.values()) - HOOKS
    with capsys.disabled():
        sys.stdout.write(
            f"\n{database_url.partition(':')[0]}: {HOOKS} hooks, {FAILING} failing once, {SLOW} of 500 ms, {BLOCKING} "
            f"of 50 ms in threads, 3 processes: {took:.1f} s with their start, {len(calls) / took:.0f} calls/s; quick "
            f"ones, behind the slow, p50 {half / 1000:.1f} s, p99 {most / 1000:.1f} s, done after "
            f"{ends['quick'] / 1000:.1f} s; delivered twice {again}\n"
        )
    assert again == 0, "no process died, and every lease was kept"
    slow = min(at for kind, _, _, at in calls if kind == "slow")
    assert quick[0] < slow, "a quick hook waited for a slow one that was due before it"
