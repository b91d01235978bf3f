"""Ghost state: what the oracle knows and the engine does not keep. Claims are counted here, not read from a fence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from keepstep_testing.sim.database import Change

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

RESOLVED_STATUSES = frozenset({"completed", "failed"})
TERMINAL = frozenset({"complete", "errored", "terminated", "cancelled"})


class Claim(NamedTuple):
    """One time that a runner got a run."""

    number: int
    process: str
    runner: int
    at_ms: int


class Stand(NamedTuple):
    """How an instance stood from a commit on."""

    commit: int
    label: str
    status: str | None
    run_number: int
    pausing: bool
    cancelling: bool


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
    """

    process: Process
    label: str
    boundaries: Sequence[Any]
    changes: Sequence[Change]
    now_ms: int
    of: defaultdict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for each in self.changes:
            self.of[each.table].append(each)

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
        early_ms: how early a machine may be whose clock runs faster than clocks do.
        stands: how each instance stood, commit by commit.
        excused: things that faults made legitimate, by name.
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
        self.held: dict[int, tuple[Any, int]] = {}
        self.planned: dict[int, tuple[Any, int]] = {}
        self.attempts: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self.deliveries: Counter[int] = Counter()
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
        self.excused: set[str] = set()
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

    def live(self) -> list[Any]:
        """The newest runs that have not ended."""
        return [each for each in self.runs.values() if each.status not in TERMINAL]

    def undelivered(self) -> list[Any]:
        """Hooks that are to be delivered."""
        return [each for each in self.hooks.values() if each.status in {"pending", "delivering"}]

    def held_by(self, process: Process) -> set[int]:
        """Ids of the runners that a process registered."""
        return {runner for runner, owner in self.process_of.items() if owner is process}

    # --- taking in

    def take(self, commit: Commit) -> None:
        """Take in what a commit changed. Rules have looked at it before, with the rows as they were."""
        self.seen += 1
        self.commits_by_label[commit.label] += 1
        if any(each.table != "runner" for each in commit.changes):
            self.moved_at_ms = commit.now_ms
        for table, old, new in commit.changes:
            getattr(self, f"_take_{table}")(old, new, commit)

    def _take_run(self, old: Any, new: Any, commit: Commit) -> None:
        if new is None:
            self.runs.pop(old.id)
            return
        self.runs[new.id] = new
        self.commits[new.id] += 1
        if new.latest:
            stand = Stand(
                self.seen,
                commit.label,
                new.status,
                new.run_number,
                pausing=bool(new.pause_requested),
                cancelling=new.cancel_reason is not None,
            )
            self.stands[new.instance_id].append(stand)
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
            self.claims[new.run_id] = Claim(self.number, commit.process.name, new.owner, commit.now_ms)
            self.claim_count[new.run_id] += 1
            self.claimed[new.run_id, new.fence, new.owner] = self.number
        if commit.label == "tick":
            self.number += 1
            self.claims[new.run_id] = Claim(self.number, commit.process.name, 0, commit.now_ms)
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
