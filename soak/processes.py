"""Runners as processes: started, killed, stopped, continued, ended. Only processes that were started here are touched."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = (sys.executable, "-m", "soak.program")
LOOK_S = 0.02
STACKS_END = "these were the stacks"
"""What a runner prints after its stacks, for which SIGUSR1 asks it."""


async def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Wait until ``condition`` holds; how many seconds that took.

    Raises:
        TimeoutError: it did not come to hold in time; the message says ``what``.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - started


async def pause(seconds: float) -> None:
    """Let the processes work for a while."""
    await asyncio.sleep(seconds)


class Process:
    """One runner.

    Args:
        options: the program's arguments.
        folder: where its output goes.
        number: distinguishes it there.
    """

    def __init__(self, options: list[str], folder: Path, number: int) -> None:
        self.output = folder / f"runner-{number}.log"
        self._file = self.output.open("wb")
        self._process = subprocess.Popen([*PROGRAM, *options], cwd=ROOT, stdout=self._file, stderr=self._file)
        self.standing_still = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self, text: str) -> bool:
        """Whether this was printed or logged."""
        return text in self.text

    @property
    def text(self) -> str:
        """All that it printed and logged."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Have it stand still (SIGSTOP), and wait until every thread of it does."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.standing_still = True

    def go_on(self) -> None:
        """Let it go on after a stop."""
        self._process.send_signal(signal.SIGCONT)
        self.standing_still = False

    def ask_to_end(self) -> None:
        """Send SIGTERM, once: it drains and ends."""
        if self.standing_still:
            self.go_on()
        self._process.terminate()

    def ended(self, seconds: float = 30) -> int:
        """Wait for its end; its exit status. One that does not end says where it stands, and is killed."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stacks()
            self._process.kill()
        return self._end()

    async def gone(self) -> int:
        """Wait for the end that it was asked for, beside everything else; its exit status.

        Raises:
            TimeoutError: it does not end; the message says where it stands.
        """
        try:
            await until(lambda: not self.alive, "a runner that was asked to end has ended")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.stacks()}") from error
        return self.ended()

    def stacks(self, seconds: float = 5) -> str:
        """Where its threads stand and its tasks wait, as it prints them; what there is of that after so long."""
        before, until_s = len(self.text), time.monotonic() + seconds
        self._process.send_signal(signal.SIGUSR1)
        while STACKS_END not in self.text[before:] and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return self.text[before:]

    def _end(self) -> int:
        self._process.wait()
        self._file.close()
        return self._process.returncode


_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \S+ (\w+) [\w.]+: ", re.MULTILINE)
GIVEN_UP = "a stop goes on without the end of"
TOLERATED = (" ERROR sqlalchemy.pool.", "unexpected connection_lost() call")
"""What drivers log, and nothing is wrong: a step was cancelled while its connection was being closed, or opened."""


def errors_in(text: str) -> list[str]:
    """The records of a log that are errors, and what was printed beside the log with a traceback in it."""
    records = [*_RECORD.finditer(text)]
    edges = [0, *(each.start() for each in records), len(text)]
    printed, *logged = (text[begin:end].strip() for begin, end in itertools.pairwise(edges))
    errors = [printed] if "Traceback" in printed or "never awaited" in printed else []
    for record, whole in zip(records, logged, strict=True):
        bad = record[1] in {"ERROR", "CRITICAL"} or GIVEN_UP in whole
        if bad and not any(text in whole for text in TOLERATED):
            errors.append(whole)
    return errors


class Fleet:
    """Runners on one database.

    Args:
        database: its URL.
        folder: for the file of effects and the runners' output.
        options: the program's, for each of them.
    """

    def __init__(self, database: str, folder: Path, *options: str) -> None:
        self.database = database
        self.effects = folder / "effects"
        self.effects.touch()
        self._folder = folder
        self._options = options
        self.all: list[Process] = []

    @property
    def alive(self) -> list[Process]:
        """Those that have not ended."""
        return [each for each in self.all if each.alive]

    def start(self, *options: str) -> Process:
        """Start one more."""
        given = [self.database, str(self.effects), *self._options, *options]
        process = Process(given, self._folder, len(self.all))
        self.all.append(process)
        return process

    async def started(self, count: int, *options: str) -> list[Process]:
        """Start some, and wait until they run."""
        processes = [self.start(*options) for _ in range(count)]
        for each in processes:
            await until(lambda each=each: each.said("running") or not each.alive, "a runner has started")
            assert each.alive, each.text
        return processes

    def end(self) -> None:
        """Have all drain and end; each must end well."""
        ending = self.alive
        for each in ending:
            each.ask_to_end()
        for each in ending:
            assert each.ended() == 0, each.text

    def complaints(self) -> list[str]:
        """What runners logged that must never be: errors, tracebacks, tasks that nobody awaited."""
        return [f"{each.output.name}: {record}" for each in self.all for record in errors_in(each.text)]


@contextlib.contextmanager
def fleet(database: str, folder: Path, *options: str) -> Iterator[Fleet]:
    """Runners that are gone after the block, whatever happens in it."""
    runners = Fleet(database, folder, *options)
    try:
        yield runners
    finally:
        for each in runners.alive:
            each.kill()
