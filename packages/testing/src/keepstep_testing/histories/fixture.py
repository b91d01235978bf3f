"""What the fixture ``replay`` does: recorded histories against today's code, and a test that fails with the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstep import Limits
from keepstep.errors import UsageError
from keepstep_testing.histories.replay import Workflows, replay_histories
from keepstep_testing.histories.report import ReplayReport


class Replayer:
    """Called with a path and the code to try; see :meth:`__call__`.

    Args:
        home: where relative paths begin: the folder of the test's file.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(
        self, path: str | Path, workflows: Workflows, *, limits: Limits | None = None
    ) -> ReplayReport:
        """Replay every history of a file, or of each ``*.jsonl`` of a folder; the test fails if one does not fit (E10).

        Args:
            path: from the test's folder, or absolute.
            workflows: an app, or what an app takes as its workflows.
            limits: in force (C10); None = the app's, else the defaults.

        Raises:
            UsageError: there is no history at that place.
        """
        __tracebackhide__ = True
        place = self._home / path
        files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
        reports = [replay_histories(each, workflows, limits=limits) for each in files]
        report = ReplayReport(tuple(verdict for each in reports for verdict in each.verdicts))
        if not report.verdicts:
            raise UsageError(f"{place} holds no history: `python -m keepstep_testing export` writes them")
        if not report.fits:
            pytest.fail(f"today's code does not fit what was recorded\n{report}", pytrace=False)
        return report
