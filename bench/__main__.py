"""The bench's command: `python -m bench`, or `make bench`, `make bench W=W2 DB=sqlite`, `make bench W=W3,W5 PEERS=no`.

Each workload runs in a process and on a database of its own, then each peer on one of its own, then the next workload.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, report
from bench.databases import CACHE, empty_database, postgres_server
from bench.loops import LOOPS
from bench.peers import PEERS, ROOT, Peer, install
from bench.workload import DIALECTS, Dialect, Raw, Sample, Workload
from bench.workloads import WORKLOADS

PEER_TIMEOUT_S = 120


@dataclass
class Run:
    """One run of the bench: what was asked for, and what was found."""

    args: argparse.Namespace
    server: str | None
    notes: list[str] = field(default_factory=list[str])
    rows: list[report.Row] = field(default_factory=list[report.Row])
    peers: list[Peer] = field(default_factory=list[Peer])
    raw: dict[Dialect, Raw] = field(default_factory=dict[Dialect, Raw])
    failed: bool = False

    def note(self, text: str) -> None:
        """Say it now, and in the report."""
        self.notes.append(text)
        print(f"!! {text}", file=sys.stderr, flush=True)

    def measure(self, databases: Sequence[Dialect], workloads: Sequence[Workload]) -> None:
        """Limits, then workload by workload."""
        for peer in PEERS if self.args.peers == "yes" else ():
            why = install(peer)
            if why is None:
                self.peers.append(peer)
            else:
                self.note(f"{peer.name} is LEFT OUT, it could not be installed: {why}")
        for database in databases:
            self.raw[database] = self._child("limits", database, 60) or {}
            print(f"limits of {database}: {report.limits_text(self.raw[database])}", flush=True)
        for workload in workloads:
            for database in databases:
                if database in workload.databases:
                    self._one(workload, database)

    def _one(self, workload: Workload, database: Dialect) -> None:
        started = time.perf_counter()
        ours = self._child(workload.name, database, workload.timeout_s)
        took = time.perf_counter() - started
        self.failed |= ours is None
        beside: dict[str, Sample] = {}
        for peer in self.peers if workload.peers else ():
            if database in peer.databases:
                beside[peer.name] = self._peer(peer, workload.name, database)
        for figure in workload.figures:
            if ours is None or figure.key in ours:
                self.rows += report.rows_of(figure, database, ours or {}, self.raw[database], beside)
        peers_took = time.perf_counter() - started - took
        print(
            f"{workload.name} on {database}: {took:.0f} s, peers {peers_took:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    def _child(self, name: str, database: Dialect, timeout_s: float) -> Sample | None:
        options = ["--quick"] * self.args.quick + ["--loop", self.args.loop]
        if self.args.profile:
            options += ["--profile", str(self.args.profile / f"{name}-{database}.txt")]
        command = [sys.executable, "-m", "bench.measure", name]
        return self._samples(f"{name} on {database}", command, options, database, timeout_s)

    def _peer(self, peer: Peer, name: str, database: Dialect) -> Sample:
        command = [str(peer.python), str(peer.program), name]
        what = f"{peer.name}, {name} on {database}"
        return self._samples(what, command, ["--quick"] * self.args.quick, database, PEER_TIMEOUT_S) or {}

    def _samples(
        self, what: str, command: list[str], options: list[str], database: Dialect, timeout_s: float
    ) -> Sample | None:
        """The medians that a process writes; None when it failed."""
        with empty_database(database, self.server) as url, scratch() as out:
            why = ended([*command, url, str(out), *options], timeout_s)
            if why is None:
                return report.medians(json.loads(out.read_text())["samples"])
        self.note(f"{what} FAILED: {why}")
        return None


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """The name of a file that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="keepstep-bench-") as folder:
        yield Path(folder) / "out.json"


def environment() -> dict[str, str]:
    """Ours, with compiled modules, as an installed application has them, even where this shell forbids to write any."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode")}


def ended(command: list[str], timeout_s: float) -> str | None:
    """Run a process and all that it starts; why it failed, or None."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), start_new_session=True, stdout=said, stderr=said
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return f"it took longer than {timeout_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it left behind, or itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        lines = said.read().strip().splitlines()
    return None if code == 0 else (lines[-1] if lines else f"exit {code}")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--workload", default="", help=f"of {', '.join(WORKLOADS)}; several with commas")
    parser.add_argument("--database", default="", choices=["", *DIALECTS])
    parser.add_argument("--peers", default="yes", choices=["yes", "no"])
    parser.add_argument("--quick", action="store_true", help="shows that it works, measures nothing")
    parser.add_argument("--loop", default=LOOPS[0], choices=LOOPS, help="the event loop that ours runs on")
    parser.add_argument(
        "--profile", type=Path, help="a folder for profiles as text; they slow everything down"
    )
    args = parser.parse_args()
    unknown = set(filter(None, args.workload.split(","))) - set(WORKLOADS)
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if args.profile:
        args.profile.mkdir(parents=True, exist_ok=True)
        args.profile = args.profile.resolve()
    return args


def main() -> int:
    """Measure, print, and write: a run of everything into README.md and latest.json, a partial one into the cache."""
    args = arguments()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended")
    )  # databases and children go, as at any other end
    asked = [name for name in args.workload.split(",") if name]
    workloads = [WORKLOADS[name] for name in asked] or [
        each for each in WORKLOADS.values() if each.by_default
    ]
    databases: tuple[Dialect, ...] = (args.database,) if args.database else DIALECTS
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if "postgresql" in databases else None
        about = machine.about(server)
        run = Run(args, server)
        run.measure(databases, workloads)
    whole = not asked and not args.database and not args.quick and not args.profile
    CACHE.mkdir(exist_ok=True)
    latest = report.LATEST if whole else CACHE / "latest.json"
    latest.write_text(report.as_json(run.rows))
    table = report.as_table(run.rows)
    if whole:
        limits = {f"limits of {name}": report.limits_text(raw) for name, raw in run.raw.items()}
        versions = {"peers": ", ".join(each.packages[0].replace("==", " ") for each in run.peers) or "none"}
        report.write_readme(table, {**about, **versions, **limits}, run.notes)
    print(f"\n{table}\n\nwritten to {latest}")
    for note in run.notes:
        print(f"!! {note}", file=sys.stderr)
    return int(run.failed)


if __name__ == "__main__":
    sys.exit(main())
