"""The world: processes on one database, messages between them, and the loop that lets one thing happen at a time.

    every ready callback of every process, first in first out ─▶ quiescence ─▶ the chooser picks one of
        a parked gate ─ a message on its way ─ the clock (to the next thing that is due)
    ─▶ a planned fault strikes there, or the process goes on ─▶ again

The clock can be picked while work is runnable. What happens to the database is looked at by the oracle at once.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keepstep_testing.sim.clock import WorldClock
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.gates import CLOCK, Gate, Key, Message, Option
from keepstep_testing.sim.loop import EndlessProcessError
from keepstep_testing.sim.process import Process
from keepstep_testing.sim.roles import Calm, Chooser, Disaster, Watcher
from keepstep_testing.sim.sessions import user_engine
from keepstep_testing.sim.store import Transaction
from keepstep_testing.sim.trace import Trace

if TYPE_CHECKING:
    from sqlalchemy import Engine

FIRST_PID = 100
PASSED_MAX = 1_000
"""Gates that stand open until time moves; then they close, so that a process which goes round in circles is noticed."""
_HINTING = frozenset({"run", "event", "hook"})


class World:
    """See the module's head.

    Args:
        seed: of everything that is drawn in it.
        database: empty.
        chooser: picks.
        disaster: strikes.
        trace: what happened, for readers.

    Attributes:
        clock: true time.
        processes: all there ever were, dead ones too.
        outside: the world outside, which steps call.
        picks: choices made.
        reached: states and events worth counting, by name.
        deaf: no wake-up arrives any more.
        passing: gates stand open, and nothing is picked there.
        ignore_lock_until_us: until then processes run into the write lock instead of waiting for their turn.
    """

    def __init__(
        self,
        seed: int | str,
        database: Database,
        *,
        chooser: Chooser,
        disaster: Disaster | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.seed = seed
        self.database = database
        self.chooser = chooser
        self.disaster: Disaster = disaster or Calm()
        self.trace = trace or Trace()
        self.clock = WorldClock()
        self.processes: list[Process] = []
        self.outside: Any = None
        self.watchers: list[Watcher] = []
        self.picks = 0
        self.reached: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.passing = False
        self._passed = 0
        self._live: list[Process] = []
        self._options: list[Option] = []
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._occurrences: dict[tuple[str, str], int] = {}
        self._order = 0
        self._lock: Process | None = None
        self._last: Process | None = None
        self._dead_pids: set[int] = set()
        self.deaf = False
        self.ignore_lock_until_us = 0

    # --- making

    @property
    def user_engine(self) -> Engine:
        """A SQLAlchemy engine on the database, for transactions of the user's own."""
        if self.database.user_engine is None:
            self.database.user_engine = user_engine(self.database)
        return self.database.user_engine

    def process(
        self, name: str, host: str = "host-1", skew_ms: int = 0, drift_ppm: int = 0, pid: int | None = None
    ) -> Process:
        """One more process; in a container it has the pid that the one before it had."""
        pid = FIRST_PID + len(self.processes) if pid is None else pid
        made = Process(self, name, host=host, pid=pid, skew_ms=skew_ms, drift_ppm=drift_ppm)
        self.processes.append(made)
        self._live.append(made)
        return made

    def later(self, after_us: int, act: Callable[[], None]) -> None:
        """Have the world do something of its own when that time has passed."""
        self._order += 1
        heapq.heappush(self._agenda, (self.clock.us + after_us, self._order, act))

    # --- what processes ask

    def key(self, actor: str, label: str) -> Key:
        """The name of the gate to which an actor comes now."""
        name = actor, label
        self._occurrences[name] = count = self._occurrences.get(name, 0) + 1
        return Key(actor, label, count)

    def passes(self, process: Process, label: str) -> bool:
        """Whether a process need not stop at this gate."""
        if not self.passing or self._passed >= PASSED_MAX:
            return False
        if label.endswith(":begin") and self.locked_by(process):
            return False
        self._passed += 1
        self.labels[label] += 1
        return True

    def park(self, gate: Gate) -> None:
        """A process waits at a gate."""
        self._order += 1
        gate.order = self._order
        self._options.append(gate)

    def send(self, to: Process, label: str, deliver: Callable[[], None]) -> None:
        """Send a wake-up; one that is on its way already covers it."""
        if self.deaf and label in {"wake", "hint"}:
            return
        for each in self._options:
            if each.process is to and each.key.label == label and isinstance(each, Message):
                return
        self._order += 1
        self._options.append(Message(self.key(to.name, label), to, deliver, self._order))

    def doubled(self, message: Message, after_us: int) -> None:
        """Send a message once more, later."""
        self._order += 1
        key = self.key(message.process.name, message.key.label)
        again = Message(key, message.process, message.deliver, self._order, self.clock.us + after_us)
        self._options.append(again)

    def lose(self, option: Option) -> None:
        """Take an option away; what waits there waits for ever."""
        self._options.remove(option)

    def gates(self) -> list[Gate]:
        """Where processes wait."""
        return [each for each in self._options if isinstance(each, Gate)]

    def pid_alive(self, pid: int) -> bool:
        """What the operating system says."""
        return pid not in self._dead_pids

    def note(self, process: Process, text: str) -> None:
        """Something that a process said to its loop."""
        if self.trace.listens:
            self.trace.add(self.clock.us, process.name, "says", text)

    # --- the database's side

    @property
    def in_transaction(self) -> bool:
        """Whether somebody is within a write transaction."""
        return self._lock is not None

    def locked_by(self, process: Process) -> bool:
        """Whether another process is within a write transaction."""
        return self._lock is not None and self._lock is not process

    def lock(self, process: Process) -> None:
        """A process begins to write."""
        if self._lock is None:
            self._lock = process

    def unlocked(self, process: Process) -> None:
        """It has ended its transaction."""
        if self._lock is process:
            self._lock = None

    def stops_at_commit(self, process: Process, label: str) -> bool:
        """Whether this transaction stops before its COMMIT."""
        return self.disaster.before_commit(process, label)

    def trouble_of_user(self, process: Process) -> str | None:
        """What happens to a user's transaction."""
        return self.disaster.user_trouble(process)

    def committed(self, transaction: Transaction) -> None:
        """A transaction is durable: whoever looks looks now."""
        changes = self.database.changes()
        for watcher in self.watchers:
            watcher.committed(transaction, changes)
        if changes and any(each.table in _HINTING for each in changes):
            for process in self._live:
                if process is not transaction.process and process.on_hint is not None:
                    self.send(process, "hint", process.on_hint)

    def failed(self, transaction: Transaction, error: BaseException) -> None:
        """A transaction ended in an error."""
        if self.trace.listens:
            kind, said = type(error).__name__, str(error)
            self.trace.add(self.clock.us, transaction.process.name, transaction.label, kind, said)

    def bury(self) -> None:
        """The world has ended."""
        self.database.cut()
        self._options.clear()
        for process in self.processes:
            process.loop.bury()

    # --- crashes

    def crashed(self, process: Process, *, pid_dies: bool = True) -> None:
        """A process is gone: its gates and its messages with it."""
        self.unlocked(process)
        self._options = [each for each in self._options if each.process is not process]
        self._live = [each for each in self._live if each is not process]
        if pid_dies:
            self._dead_pids.add(process.pid)
        for watcher in self.watchers:
            watcher.crashed(process)

    # --- going on

    def run(self, until: Callable[[], bool], picks_max: int, *, fair: bool = False) -> bool:
        """Let things happen until something is the case; False when it does not come to that.

        Args:
            until: asked whenever everything is quiet.
            picks_max: how many choices at most.
            fair: oldest first, no faults, time passes only when nothing else can happen.
        """
        last_pick = self.picks + picks_max
        while True:
            self._quiesce()
            if until():
                return True
            if self.picks >= last_pick or not self._step(fair=fair):
                return False

    def run_for(self, seconds: float, picks_max: int, until: Callable[[], bool]) -> bool:
        """The same, fairly, for no longer than so much virtual time."""
        end = self.clock.us + int(seconds * 1_000_000)
        over = self.run(lambda: until() or self.clock.us > end, picks_max, fair=True)
        return over and until()

    def settle(self) -> None:
        """Let everything happen that needs no time, with open gates."""
        self.passing = True
        self._quiesce()
        self.passing = False

    def _quiesce(self) -> None:
        again, now = True, self.clock.us
        while again:
            again = False
            for process in self._live:
                if process.loop.ready and process.alive and process.stalled_until_us <= now:
                    again = True
                    try:
                        process.loop.run_ready()
                    except EndlessProcessError as error:
                        raise EndlessProcessError(f"{process.name}: {error}") from None

    def _step(self, *, fair: bool) -> bool:
        options = self._open_options()
        if not options:
            due = self._next_due_us()
            if due is None:
                return False
            self.picks += 1
            self._pass_time_to(due)
            return True
        default = self._default(options)
        option = default if fair else self.chooser.pick(options, default, can_tick=self._can_tick())
        self.picks += 1
        if option is None:
            due = self._next_due_us()
            assert due is not None
            self.reached["clock race"] += 1
            self._pass_time_to(due)
            return True
        if isinstance(option, Message) and options[0] is not option and isinstance(options[0], Message):
            self.reached["message overtaken"] += 1
        if not fair and self.disaster.strike(self, option):
            return True
        self._open(option)
        return True

    def _open(self, option: Option) -> None:
        key = option.key
        if self.trace.listens:
            self.trace.add(self.clock.us, key.actor, key.label, option.facts)
        if option in self._options:
            self._options.remove(option)
        self.labels[key.label] += 1
        self._last = option.process
        option.open()

    def _open_options(self) -> list[Option]:
        now = self.clock.us
        lock = None if self.ignore_lock_until_us > now else self._lock
        found: list[Option] = []
        for each in self._options:
            process = each.process
            if each.after_us > now or process.stalled_until_us > now or not process.alive:
                continue
            if lock is not None and process is not lock and each.key.label.endswith(":begin"):
                continue
            found.append(each)
        return found

    def _default(self, options: Sequence[Option]) -> Option:
        """What happens without preemption: the process that went on last goes on, else who waits longest."""
        last = self._last
        for each in options:
            if each.process is last and isinstance(each, Gate):
                return each
        return options[0]

    @property
    def leap_s(self) -> float:
        """How far time would move if it moved now, seconds."""
        due = self._next_due_us()
        return 0.0 if due is None else (due - self.clock.us) / 1e6

    def _can_tick(self) -> bool:
        """Whether anything is due at all."""
        if self._agenda:
            return True
        now = self.clock.us
        for process in self._live:
            if process.stalled_until_us > now or process.loop.next_due_us() is not None:
                return True
        return any(each.after_us > now for each in self._options)

    def _next_due_us(self) -> int | None:
        now = self.clock.us
        dues: list[int] = [each.after_us for each in self._options if each.after_us > now]
        for process in self._live:
            due = process.stalled_until_us if process.stalled_until_us > now else process.loop.next_due_us()
            if due is not None:
                dues.append(due)
        if self._agenda:
            dues.append(self._agenda[0][0])
        return max(min(dues), now) if dues else None

    def _pass_time_to(self, us: int) -> None:
        if self.trace.listens:
            self.trace.add(us, CLOCK.actor, CLOCK.label, f"+{(us - self.clock.us) / 1e6:g} s")
        self._passed = 0
        self.clock.us = us
        while self._agenda and self._agenda[0][0] <= us:
            heapq.heappop(self._agenda)[2]()
        for process in self._live:
            if process.stalled_until_us == us:
                process.stalled_until_us = (
                    0  # answers may be heard before its overdue timers: they are the next tick
                )
            elif process.stalled_until_us <= us:
                process.loop.fire_due(us)
