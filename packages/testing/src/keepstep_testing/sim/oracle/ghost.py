"""Ghost state: what the oracle knows and the engine does not keep. Claims are counted here, not read from a fence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from keepstep_testing.sim.database import Change

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

TERMINAL = frozenset({"complete", "errored", "terminated", "cancelled"})


class Claim(NamedTuple):
    """One time that a runner got a run."""

    number: int
    process: str
    runner: int


class Stand(NamedTuple):
    """How an instance stood from a commit on."""

    commit: int
    label: str
    status: str | None
    run_number: int
    pausing: bool
    cancelling: bool


class Memory(NamedTuple):
    """What the oracle keeps of the database's rows, and of what was done to them, after one commit."""

    rows: dict[str, Any]
    steps: dict[int, dict[str, Any]]


_OF_ROWS = (
    "runs",
    "tasks",
    "events",
    "hooks",
    "runners",
    "claims",
    "fence_max",
    "takeovers",
    "ended_at_ms",
    "counts",
)
"""Attributes of the ghost that go back with the database."""


@dataclass(slots=True)
class Commit:
    """One transaction that changed something.

    Attributes:
        process: whose.
        label: which.
        boundaries: what a group commit or a user's transaction carried, as planned.
        changes: the rows, in the order in which they changed.
        now_ms: the database's time.
        of: the changes by table.
        resolved: rows of steps that it resolved, as they are now.
    """

    process: Process
    label: str
    boundaries: Sequence[Any]
    changes: Sequence[Change]
    now_ms: int
    of: defaultdict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    resolved: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        for each in self.changes:
            self.of[each.table].append(each)
        self.resolved = [
            new
            for table, old, new in self.changes
            if table == "run_step"
            and new is not None
            and new.seq is not None
            and (old is None or old.seq is None)
        ]

    @property
    def tables(self) -> set[str]:
        """The tables that changed."""
        return set(self.of)


class Ghost:
    """What the oracle has seen.

    Attributes:
        runs, tasks, steps, events, hooks, runners: the rows as of the last commit.
        claims: the newest claim of each run.
        claim_count: claims of each run.
        process_of: which process registered a runner.
        planned: which claim a boundary was planned under, by the boundary's identity.
        attempts: attempts begun, by run and key.
        seen: commits so far.
        moved_at_ms: when a commit last changed anything but leases.
        newest_ms: the latest time that the database's clock has shown at a commit; it may have been set back since.
        early_ms: how early a machine may be whose clock runs faster than clocks do.
        stands: how each instance stood, commit by commit.
        excused: things that faults made legitimate, by name.
        counts: takeovers in a row by run, as the rule counts them that judges them.
        contradicted: boundaries that were planned of bodies that contradict their records, by identity.
        looked: by task of a tick, the commits that it saw when it last read its run.
        resolved_at: by run and key, the commit that resolved a step.
        lost_at: the moment at which the database last lost commits; what began before it is excused.
        misfits: processes that started while the schema was not theirs: they may write nothing.
    """

    def __init__(self) -> None:
        self.runs: dict[int, Any] = {}
        self.tasks: dict[int, Any] = {}
        self.steps: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        self.events: dict[int, Any] = {}
        self.hooks: dict[int, Any] = {}
        self.runners: dict[int, Any] = {}
        self.claims: dict[int, Claim] = {}
        self.claim_count: Counter[int] = Counter()
        self.fence_max: dict[int, int] = {}
        self.process_of: dict[int, Process] = {}
        self.claimed: dict[tuple[int, int, int], int] = {}
        self.held: dict[int, tuple[Any, int, Process]] = {}
        self.planned: dict[int, tuple[Any, int]] = {}
        self.attempts: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self.delivered: set[int] = set()
        self.takeovers: Counter[int] = Counter()
        self.commits: Counter[int] = Counter()
        self.commits_by_label: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.stands: defaultdict[str, list[Any]] = defaultdict(list)
        self.ended_at_ms: dict[int, int] = {}
        self.number = 0
        self.seen = 0
        self.moved_at_ms = 0
        self.newest_ms = 0
        self.excused: set[str] = set()
        self.counts: dict[int, Any] = {}
        self.contradicted: dict[int, Any] = {}
        self.looked: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self.resolved_at: dict[tuple[int, str], int] = {}
        self.lost_at = -1
        self.misfits: set[Process] = set()
        self.early_ms = 0

    def buffered(self, run_id: int, kind: str | None = None) -> list[Any]:
        """Events of a run that nothing has consumed, oldest first."""
        return sorted(
            each
            for each in self.events.values()
            if each.run_id == run_id and each.consumed_by is None and (kind is None or each.type == kind)
        )

    def latest(self, instance_id: str) -> Any:
        """The newest run of an instance, or None."""
        return next(
            (each for each in self.runs.values() if each.instance_id == instance_id and each.latest), None
        )

    def is_due(self, run_at: int | None, now_ms: int) -> bool:
        """Whether a task is due, or was before the database's clock was set back."""
        return run_at is not None and run_at <= max(now_ms, self.newest_ms)

    def live(self) -> list[Any]:
        """The newest runs that have not ended."""
        return [each for each in self.runs.values() if each.status not in TERMINAL]

    def undelivered(self) -> list[Any]:
        """Hooks that are to be delivered."""
        return [each for each in self.hooks.values() if each.status in {"pending", "delivering"}]

    def held_by(self, process: Process) -> set[int]:
        """Ids of the runners that a process registered."""
        return {runner for runner, owner in self.process_of.items() if owner is process}

    # --- going back (fault 23)

    def memory(self) -> Memory:
        """What is to be recalled should the database lose what it commits from now on."""
        steps = {run_id: dict(rows) for run_id, rows in self.steps.items()}
        return Memory({name: copy(getattr(self, name)) for name in _OF_ROWS}, steps)

    def recall(self, memory: Memory) -> None:
        """The database has lost commits: know again what was known then. Each instance stands as it stood."""
        for name, kept in memory.rows.items():
            setattr(self, name, copy(kept))
        self.steps = defaultdict(dict, {run_id: dict(rows) for run_id, rows in memory.steps.items()})
        self.seen += 1
        self.lost_at = self.seen
        for instance_id in self.stands:
            self._stand(instance_id, self.latest(instance_id), "lost")

    def _stand(self, instance_id: str, run: Any, label: str) -> None:
        stand = Stand(
            self.seen,
            label,
            None if run is None else run.status,
            0 if run is None else run.run_number,
            pausing=run is not None and bool(run.pause_requested),
            cancelling=run is not None and run.cancel_reason is not None,
        )
        self.stands[instance_id].append(stand)

    # --- taking in

    def take(self, commit: Commit) -> None:
        """Take in what a commit changed. Rules have looked at it before, with the rows as they were."""
        self.seen += 1
        self.newest_ms = max(self.newest_ms, commit.now_ms)
        self.commits_by_label[commit.label] += 1
        if any(each.table != "runner" for each in commit.changes):
            self.moved_at_ms = commit.now_ms
        for row in commit.resolved:
            self.resolved_at[row.run_id, row.key] = self.seen
        for table, old, new in commit.changes:
            getattr(self, f"_take_{table}")(old, new, commit)

    def _take_run(self, old: Any, new: Any, commit: Commit) -> None:
        if new is None:
            self.runs.pop(old.id)
            return
        self.runs[new.id] = new
        self.commits[new.id] += 1
        if new.latest:
            self._stand(new.instance_id, new, commit.label)
        if old is None or old.status != new.status:
            self.transitions["-" if old is None else old.status, new.status] += 1
            if new.status in TERMINAL:
                self.ended_at_ms[new.id] = commit.now_ms

    def _take_task(self, old: Any, new: Any, commit: Commit) -> None:
        if new is None:
            self.tasks.pop(old.run_id)
            return
        self.tasks[new.run_id] = new
        self.fence_max[new.run_id] = max(self.fence_max.get(new.run_id, 0), new.fence)
        if new.owner is not None and (old is None or old.owner != new.owner):
            self.number += 1
            self.claims[new.run_id] = Claim(self.number, commit.process.name, new.owner)
            self.claim_count[new.run_id] += 1
            self.claimed[new.run_id, new.fence, new.owner] = self.number
        if commit.label == "tick":
            self.number += 1
            self.claims[new.run_id] = Claim(self.number, commit.process.name, 0)
        if old is not None and new.takeovers > old.takeovers:
            self.takeovers[new.run_id] += 1

    def _take_run_step(self, old: Any, new: Any, _: Commit) -> None:
        if new is None:
            self.steps[old.run_id].pop(old.key)
        else:
            self.steps[new.run_id][new.key] = new
            self.commits[new.run_id] += 1

    def _take_event(self, old: Any, new: Any, _: Commit) -> None:
        if new is None:
            self.events.pop(old.id)
        else:
            self.events[new.id] = new

    def _take_hook(self, old: Any, new: Any, _: Commit) -> None:
        if new is None:
            self.hooks.pop(old.id)
        else:
            self.hooks[new.id] = new

    def _take_runner(self, old: Any, new: Any, commit: Commit) -> None:
        if new is None:
            self.runners.pop(old.id)
            return
        self.runners[new.id] = new
        if old is None:
            self.process_of[new.id] = commit.process

    def _take_log(self, old: Any, new: Any, commit: Commit) -> None:
        """Lines are looked at when they are written only."""
